"""What a kernel is asked: run inside of it, where only the standard library is certain."""


def answer(names):  # type: ignore[no-untyped-def]
    """Where each module would be imported from, what the path is, and which Python this is."""
    import importlib.util
    import os
    import sys

    def place(name):  # type: ignore[no-untyped-def]
        try:
            spec = importlib.util.find_spec(name)
        except Exception as error:
            return "! " + repr(error)
        if spec is None:
            return ""
        return spec.origin or next(iter(spec.submodule_search_locations or ()), "")

    errors: dict[str, str] = {}
    for name in ("helpers", "redis", "helpers.views"):  # the last one loads what draws
        if name == "helpers.views" and errors:
            break
        try:
            __import__(name)
        except BaseException as error:  # a file of the same name may even end Python
            errors[name] = " ".join((type(error).__name__ + ": " + str(error)).split())
    customs = [sys.modules.get(name) for name in ("sitecustomize", "usercustomize")]
    return {
        "executable": sys.executable,
        "version": ".".join(map(str, sys.version_info[:3])),
        "prefix": os.path.realpath(sys.prefix),
        "folder": os.getcwd(),
        "path": sys.path,
        "origins": {name: place(name) for name in names},
        "errors": errors,
        "customs": [file for one in customs if (file := getattr(one, "__file__", ""))],
    }
