// What the course's JupyterLab does in another way than JupyterLab itself:
//
// * A folded answer to a prediction stays folded until it is clicked. (JupyterLab shows its first
//   line in its place, and unfolds it when its cell runs.)
// * Source that a cell shows is scrolled, not broken in the middle of words.
//
// This file is the extension as JupyterLab loads it: there is nothing to build.
(() => {
  "use strict";
  let shared; // JupyterLab's own modules: by name, then by version

  const STYLE = `
    .jp-RenderedHTMLCommon.jp-RenderedMarkdown pre { overflow-x: auto; }
    .jp-RenderedHTMLCommon.jp-RenderedMarkdown pre code { white-space: pre; }
    .jp-RenderedMarkdown td:first-child > strong { white-space: nowrap; }`;

  const load = async name => (await Object.values(shared[name])[0].get())();
  const tags = cell => cell.model.getMetadata("tags") ?? [];
  const isAnswer = cell => tags(cell).includes("hide-output");
  const failed = cell =>
    !tags(cell).includes("raises-exception") &&
    cell.model.outputs.toJSON().some(output => output.output_type === "error");

  const plugin = {
    id: "redis-streams-course:plugin",
    description: "Keeps answers folded until they are clicked, and shown source unbroken.",
    autoStart: true,
    activate: async () => {
      if (!shared["@jupyterlab/cells"]) return; // Voila, which loads the same extensions
      document.head.append(Object.assign(document.createElement("style"), { textContent: STYLE }));
      const { CodeCell } = await load("@jupyterlab/cells");
      const { NotebookActions } = await load("@jupyterlab/notebook");

      const preview = CodeCell.prototype.getOutputPlaceholderText;
      CodeCell.prototype.getOutputPlaceholderText = function () {
        return isAnswer(this) ? "Click to see the answer" : preview.call(this);
      };
      NotebookActions.executionScheduled.connect((_, { cell }) => {
        if (cell.outputHidden && isAnswer(cell)) {
          // JupyterLab unfolds the output right after this signal, before anything is drawn.
          queueMicrotask(() => { cell.outputHidden = true; });
        }
      });
      NotebookActions.executed.connect((_, { cell }) => {
        if (cell.outputHidden && isAnswer(cell) && failed(cell)) cell.outputHidden = false;
      });
    },
  };

  (window._JUPYTERLAB ??= {})["redis-streams-course"] = {
    init: scope => { shared = scope; },
    get: async () => () => ({ __esModule: true, default: plugin }),
  };
})();
