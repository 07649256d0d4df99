// What scrolls sideways can be reached and scrolled by keyboard.
function reachable() {
  for (const box of document.querySelectorAll("article pre, article .table-wrapper, .cell_output")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}
addEventListener("load", reachable);
addEventListener("resize", reachable);
addEventListener("toggle", reachable, true);

// A keyboard opens the drawers of a narrow page too: their switches are labels, which it can't reach.
// It goes on in the drawer; Escape closes that, and leads back. A link in it closes it too.
for (const icon of document.querySelectorAll(".nav-overlay-icon .icon, .toc-overlay-icon .icon")) {
  const drawer = icon.parentElement.control;
  const panel = document.querySelector(drawer.id === "__toc" ? ".toc-drawer" : ".sidebar-drawer");
  Object.assign(icon, { tabIndex: 0, role: "button", ariaLabel: drawer.ariaLabel, ariaExpanded: drawer.checked });
  drawer.addEventListener("change", () => { icon.ariaExpanded = drawer.checked; });
  icon.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    drawer.click();
    if (drawer.checked) [...panel.querySelectorAll("a, input")].find((one) => one.checkVisibility()).focus();
  });
  panel.addEventListener("click", (event) => {
    if (event.target.closest("a") && drawer.checked && icon.checkVisibility()) drawer.click();
  });
  addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !drawer.checked || !icon.checkVisibility()) return;
    drawer.click();
    icon.focus();
  });
}

// A reader who comes from the search sees the first place that matches. Sphinx marks those places
// a moment after it has the page.
addEventListener("load", () => setTimeout(() => {
  const found = [...document.querySelectorAll("article .highlighted")];
  const first = found.find((one) => !one.closest("details:not([open])"));
  if (!location.hash) first?.scrollIntoView({ block: "center", behavior: "instant" });
}, 50));
