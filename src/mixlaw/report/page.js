// Names and numbers of what is under the pointer. The page reads without it.
"use strict";
(() => {
  const tip = document.getElementById("tip");
  const hide = () => { tip.style.opacity = "0"; };
  document.addEventListener("pointerover", (event) => {
    const marked = event.target instanceof Element ? event.target.closest("[data-tip]") : null;
    if (!marked) { hide(); return; }
    tip.textContent = marked.getAttribute("data-tip");
    tip.style.opacity = "1";
  });
  document.addEventListener("pointermove", (event) => {
    const box = tip.getBoundingClientRect();
    const left = Math.min(event.clientX + 14, document.documentElement.clientWidth - box.width - 8);
    const above = event.clientY - box.height - 12;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${above > 8 ? above : event.clientY + 18}px`;
  });
  document.addEventListener("scroll", hide, { passive: true });
})();
