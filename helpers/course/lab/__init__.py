"""How `course lab` starts JupyterLab: a learner's settings hold, but for what breaks the course.

Their key bindings, fonts, extensions and the rest stay. What is overridden, and why, is told.
"""

from helpers.course.lab.configuration import Configuration, configuration, hides
from helpers.course.lab.environment import environment
from helpers.course.lab.overrides import names_a_root, overrides, token_beside_a_password

__all__ = [
    "Configuration",
    "configuration",
    "environment",
    "hides",
    "names_a_root",
    "overrides",
    "token_beside_a_password",
]
