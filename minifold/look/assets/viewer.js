// Turns every figure of class mf-view of the page into a 3D view: unpacks the one copy of 3Dmol.js
// that the page carries, reads the figure's JSON, and replaces the still picture. Without WebGL, or
// without the library, the picture stays. Nothing is loaded from anywhere.
(function () {
  "use strict";
  if (window.minifoldViews) { window.minifoldViews(); return; }
  const MOST = 10;  // views alive at once without a click: browsers allow about 16 WebGL contexts
  let library = null, alive = 0;

  function load() {
    if (window.$3Dmol) return Promise.resolve();
    const packed = document.getElementById("minifold-3dmol");
    if (!packed) return Promise.reject(new Error("no 3Dmol.js in this page"));
    library = library || (async function () {
      const bytes = Uint8Array.from(atob(packed.textContent.trim()), c => c.charCodeAt(0));
      const source = new ReadableStream({ start(c) { c.enqueue(bytes); c.close(); } });
      const reader = source.pipeThrough(new DecompressionStream("gzip")).getReader();
      const decoder = new TextDecoder();
      let code = "";
      for (let part = await reader.read(); !part.done; part = await reader.read())
        code += decoder.decode(part.value, { stream: true });
      // hidden names: in pages with a module loader the library would not define $3Dmol
      new Function("exports", "module", "define", code).call(window);
    })();
    return library;
  }

  window.minifold3Dmol = load;  // for other scripts of the page; resolves when $3Dmol is there

  function element(parent, tag, properties) {
    const made = Object.assign(document.createElement(tag), properties);
    parent.appendChild(made);
    return made;
  }

  function paint(viewer, spec, sidechains) {
    spec.models.forEach((model, index) => {
      const of = more => Object.assign({ model: index }, more);
      const color = atom => model.colors[atom.resi] || "#999999";
      const cartoon = { colorfunc: color, arrows: true, thickness: 0.45 };
      if (model.ghost) cartoon.opacity = 0.75;
      viewer.setStyle(of({}), model.moving ? {} : { cartoon: cartoon });
      if (sidechains && !model.ghost) {
        const sides = { not: { atom: ["N", "C", "O", "OXT"] } };
        viewer.addStyle(of(sides), { stick: { colorfunc: color, radius: 0.13 } });
      }
      for (const pair of model.disulfides) {
        const atoms = of({ resi: pair, atom: ["CA", "CB", "SG"] });
        viewer.addStyle(atoms, { stick: { color: "#C79500", radius: 0.2 } });
      }
    });
    viewer.render();
  }

  function bonds(viewer, spec) {
    spec.models.forEach((model, index) => {
      for (const pair of model.disulfides) {
        const [start, end] = pair.map(
          resi => viewer.selectedAtoms({ model: index, resi: resi, atom: "SG" })[0]);
        if (start && end) viewer.addCylinder({
          start: start, end: end, radius: 0.2, color: "#C79500", fromCap: 2, toCap: 2 });
      }
    });
  }

  // rods between the Cα atoms of one frame; coordinates are in hundredths of an Å
  function trace(viewer, model, frame) {
    const points = model.moving[frame].map(p => ({ x: p[0] / 100, y: p[1] / 100, z: p[2] / 100 }));
    const numbers = Object.keys(model.colors).map(Number).sort((a, b) => a - b);
    viewer.removeAllShapes();
    for (let i = 0; i + 1 < points.length; i++) if (numbers[i + 1] - numbers[i] === 1)
      viewer.addCylinder({ start: points[i], end: points[i + 1], radius: 0.45, fromCap: 2,
                           toCap: 2, color: model.colors[numbers[i]] });
    viewer.render();
  }

  function controls(figure, stage, viewer, spec, state) {
    const bar = element(figure, "div", { className: "mf-controls" });
    figure.insertBefore(bar, stage.nextSibling);
    if (spec.frames) {
      const play = element(bar, "button", { type: "button", textContent: "▶ play" });
      const slider = element(bar, "input", {
        type: "range", min: 0, max: spec.frames - 1, step: 1, value: spec.frames - 1 });
      slider.setAttribute("aria-label", "frame");
      const label = element(bar, "output", {});
      const show = k => {
        slider.value = k;
        label.textContent = spec.labels[k];
        trace(viewer, spec.models[0], Number(k));
      };
      slider.addEventListener("input", () => show(slider.value));
      let timer = null;
      play.addEventListener("click", () => {
        if (timer) { clearInterval(timer); timer = null; play.textContent = "▶ play"; return; }
        play.textContent = "■ stop";
        show(0);
        timer = setInterval(() => show((Number(slider.value) + 1) % spec.frames), 700);
      });
      show(spec.frames - 1);
    } else {
      const label = element(bar, "label", {});
      const box = element(label, "input", { type: "checkbox" });
      label.append(" side chains");
      box.addEventListener("change", () => paint(viewer, spec, box.checked));
    }
    const reset = element(bar, "button", { type: "button", textContent: "reset view" });
    reset.addEventListener("click", () => { viewer.setView(state); viewer.render(); });
    element(bar, "small", { textContent: "drag: turn · Ctrl + wheel: zoom · hover: residue" });
  }

  async function start(figure) {
    const stage = figure.querySelector(".mf-stage");
    if (figure.dataset.state) return;
    figure.dataset.state = "starting";
    const spec = JSON.parse(figure.querySelector("script[type='application/json']").textContent);
    const still = stage.querySelector("img");
    let box = null;
    try {
      await load();
      stage.style.display = "block";
      box = element(stage, "div", { className: "mf-live" });
      const viewer = window.$3Dmol.createViewer(
        box, { backgroundColor: "white", antialias: true, cartoonQuality: 10 });
      if (!viewer) throw new Error("no WebGL");
      for (const model of spec.models) viewer.addModel(model.pdb, "pdb");
      viewer.setViewStyle({ style: "outline", color: "black", width: 0.03 });
      paint(viewer, spec, false);
      bonds(viewer, spec);
      viewer.setHoverable({}, true, (atom, view) => {
        const model = spec.models[atom.model] || spec.models[0];
        if (!atom.mfLabel) atom.mfLabel = view.addLabel(
          atom.resn + " " + atom.resi + (model.notes[atom.resi] || ""),
          { position: atom, fontSize: 13, backgroundColor: "#222222", backgroundOpacity: 0.85 });
      }, (atom, view) => {
        if (atom.mfLabel) { view.removeLabel(atom.mfLabel); delete atom.mfLabel; }
      });
      viewer.zoomTo();
      viewer.zoom(spec.frames ? 1.25 : 1.45);
      viewer.render();
      controls(figure, stage, viewer, spec, viewer.getView());
      box.addEventListener("wheel", event => {  // the wheel scrolls the page
        if (!event.ctrlKey) event.stopImmediatePropagation();
      }, { capture: true, passive: true });
      stage.tabIndex = 0;
      stage.addEventListener("keydown", event => {
        const turn = { ArrowLeft: [-10, "y"], ArrowRight: [10, "y"],
                       ArrowUp: [-10, "x"], ArrowDown: [10, "x"] }[event.key];
        if (!turn) return;
        viewer.rotate(turn[0], turn[1]);
        viewer.render();
        event.preventDefault();
      });
      if (still) still.style.visibility = "hidden";
      figure.dataset.state = "live";
    } catch (problem) {  // the picture stays
      if (box) box.remove();
      if (!still) stage.style.display = "none";
      figure.dataset.state = "still";
      figure.dataset.problem = String(problem);
    }
  }

  window.minifoldViews = function () {
    function seen(figure) {
      if (alive >= MOST) return;
      alive += 1;
      start(figure);
    }
    const observer = new IntersectionObserver(entries => {
      for (const entry of entries) if (entry.isIntersecting) {
        observer.unobserve(entry.target);
        seen(entry.target);
      }
    }, { rootMargin: "300px" });
    for (const figure of document.querySelectorAll(".mf-view:not([data-watched])")) {
      figure.dataset.watched = "yes";
      figure.addEventListener("click", () => start(figure));
      if (figure.getBoundingClientRect().top < window.innerHeight) seen(figure);
      else observer.observe(figure);
    }
  };
  window.minifoldViews();
})();
