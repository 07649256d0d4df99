// What the course's JupyterLab does in another way than JupyterLab itself:
//
// * A folded answer to a prediction stays folded until it is clicked. (JupyterLab shows its first
//   line in its place, and unfolds it when its cell runs.)
// * Source that a cell shows is scrolled, not broken in the middle of words.
// * For a projector (`course lab --projector`), what has a size of its own grows with the type.
//
// This file is the extension as JupyterLab loads it: there is nothing to build.
(() => {
  "use strict";
  let shared; // JupyterLab's own modules: by name, then by version

  const STYLE = `
    .jp-RenderedHTMLCommon.jp-RenderedMarkdown pre { overflow-x: auto; }
    .jp-RenderedHTMLCommon.jp-RenderedMarkdown pre code { white-space: pre; }
    .jp-RenderedMarkdown td:first-child > strong { white-space: nowrap; }`;

  const PROJECTOR = `
    #jp-title-panel-title input { font-size: 19px; }
    .jp-cell-toolbar { display: none; }
    .jp-InputPrompt, .jp-OutputPrompt { font-size: min(15px, 0.7 * var(--jp-code-font-size)); }
    .jp-RenderedHTMLCommon table { font-size: 0.85em; }
    .jp-RenderedMarkdown img { zoom: 1.5; max-height: 48vh; max-width: 100%; }
    .jp-RenderedImage img { width: min(100%, 75vw); height: auto; }
    .jp-OutputPlaceholder, .jp-Placeholder-contentContainer {
      font-size: var(--jp-content-font-size1); }
    .jp-OutputArea-output [style*="font-size:1"] {
      font-size: var(--jp-content-font-size1) !important; }`;
  const isProjected = () =>
    "courseProjector" in JSON.parse(document.getElementById("jupyter-config-data").textContent);

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
      const textContent = isProjected() ? STYLE + PROJECTOR : STYLE;
      document.head.append(Object.assign(document.createElement("style"), { textContent }));
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
