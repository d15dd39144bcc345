// Brings every figure of class mf-view of the page to life: unpacks the one copy of 3Dmol.js that
// the page carries, runs what py3Dmol wrote (the figure's <template>), puts it in the place of the
// still picture and adds what a hand can do: names under the mouse, side chains, a slider, keys.
// Without WebGL, or without the library, the picture stays. Nothing is loaded from anywhere.
(function () {
  "use strict";
  if (window.minifoldViews) { window.minifoldViews(); return; }
  const MOST = 10;  // views alive at once without a click: browsers allow about 16 WebGL contexts
  let library = null, alive = 0, count = 0;

  function load() {
    if (window.$3Dmol) return Promise.resolve();
    const packed = document.getElementById("minifold-3dmol"), canvas = document.createElement("canvas");
    if (!packed) return Promise.reject(new Error("no 3Dmol.js in this page"));
    if (!library && !canvas.getContext("webgl2") && !canvas.getContext("webgl"))
      return Promise.reject(new Error("no WebGL"));
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

  // py3Dmol's part of the page, run in `box`; a fresh name, for the same view may be there twice
  async function draw(box, template) {
    const name = template.dataset.name + "_" + count++;
    const code = template.innerHTML.replaceAll(template.dataset.name, name);
    window.$3Dmolpromise = window.$3Dmolpromise || load();
    box.append(document.createRange().createContextualFragment(code));  // its script runs
    await window.$3Dmolpromise;
    const viewer = window["viewer_" + name];
    if (!viewer) throw new Error("3Dmol.js made no view");
    return viewer;
  }

  function color(atom) {
    const cartoon = atom.style.cartoon;
    return cartoon.colorscheme ? cartoon.colorscheme.map[atom.resi] : cartoon.color;
  }

  // rods where the cartoon shows a gap, for neighbours lie too far apart
  function mend(viewer, spec) {
    (spec.mended || []).forEach(shape => viewer.removeShape(shape));
    spec.mended = spec.torn.map(([model, ...pair]) => {
      const [a, b] = pair.map(resi => viewer.selectedAtoms({ model: model, resi: resi, atom: "CA" })[0]);
      return viewer.addCylinder({ start: a, end: b, radius: a.style.cartoon.colorscheme ? 0.3 : 0.15,
                                  fromCap: 2, toCap: 2, color: color(a) });
    });
  }

  function sidechains(viewer, spec, shown) {
    for (const selection of spec.sides) viewer.addStyle(
      selection, { stick: { radius: 0.13, colorfunc: color, hidden: !shown } });
    viewer.render();
  }

  // rods between the Cα atoms of one frame; coordinates are in hundredths of an Å
  function trace(viewer, moving, frame) {
    const points = moving.frames[frame].map(p => ({ x: p[0] / 100, y: p[1] / 100, z: p[2] / 100 }));
    const numbers = moving.numbers;
    viewer.removeAllShapes();
    for (let i = 0; i + 1 < points.length; i++) if (numbers[i + 1] - numbers[i] === 1)
      viewer.addCylinder({ start: points[i], end: points[i + 1], radius: 0.45, fromCap: 2,
                           toCap: 2, color: moving.colors[i] });
    viewer.render();
  }

  // What the section around its first view may do with it (`figure.minifold`), and the letters of a
  // sequence there: one under the mouse is marked in the structure, a residue under the mouse in the
  // sequence; the section hears of it by the event "mf-residue".
  function link(figure, viewer, spec) {
    const section = figure.closest("section");
    if (!section || section.querySelector(".mf-view") !== figure) return () => {};
    const letters = [...section.querySelectorAll(".sequence [data-k]")];
    const atoms = viewer.selectedAtoms({ model: 0, atom: "CA" });
    if (letters.length !== atoms.length) return () => {};
    const usual = atoms.map(color);
    let shapes = [];
    const balls = list => {  // pairs of residue, counted from 0, and colour
      if (!list.length && !shapes.length) return;
      shapes.forEach(shape => viewer.removeShape(shape));
      shapes = list.map(([k, color]) => viewer.addSphere({ center: atoms[k], radius: 1.4, color: color }));
      viewer.render();
    };
    const paint = colors => {  // of each residue; null: as it was
      const map = Object.fromEntries(atoms.map((atom, k) => [atom.resi, (colors || usual)[k]]));
      const cartoon = { ...atoms[0].style.cartoon, colorscheme: { prop: "resi", map: map } };
      viewer.addStyle({ model: 0 }, { cartoon: cartoon });
      mend(viewer, spec);
      viewer.render();
      figure.dataset.painted = colors ? "yes" : "";
    };
    const tell = k => {
      letters.forEach((letter, i) => letter.classList.toggle("mf-at", i === k));
      section.dispatchEvent(new CustomEvent("mf-residue", { detail: k }));
    };
    letters.forEach((letter, k) => {
      letter.addEventListener("pointerenter", () => { tell(k); balls([[k, "#D55E00"]]); });
      letter.addEventListener("pointerleave", () => { tell(-1); balls([]); });
    });
    figure.minifold = { balls: balls, paint: paint };
    return resi => tell(atoms.findIndex(atom => atom.resi === resi));
  }

  function controls(figure, stage, viewer, spec, state) {
    const bar = element(figure, "div", { className: "mf-controls" });
    figure.insertBefore(bar, stage.nextSibling);
    if (spec.moving) {
      const last = spec.moving.frames.length - 1;
      const play = element(bar, "button", { type: "button", textContent: "▶ play" });
      const slider = element(bar, "input", {
        type: "range", min: 0, max: last, step: 1, value: last });
      slider.setAttribute("aria-label", "frame");
      const label = element(bar, "output", {});
      const show = k => {
        slider.value = k;
        label.textContent = spec.moving.labels[k];
        trace(viewer, spec.moving, Number(k));
      };
      slider.addEventListener("input", () => show(slider.value));
      let timer = null;
      play.addEventListener("click", () => {
        if (timer) { clearInterval(timer); timer = null; play.textContent = "▶ play"; return; }
        play.textContent = "■ stop";
        show(0);
        timer = setInterval(() => show((Number(slider.value) + 1) % (last + 1)), 700);
      });
      show(last);
    } else if (spec.sides.length) {
      const label = element(bar, "label", {});
      const box = element(label, "input", { type: "checkbox" });
      label.append(" side chains");
      box.addEventListener("change", () => sidechains(viewer, spec, box.checked));
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
      const viewer = await draw(box, figure.querySelector("template"));
      if (!spec.moving) mend(viewer, spec);
      const point = spec.moving ? () => {} : link(figure, viewer, spec);
      viewer.setHoverable({}, true, (atom, view) => {
        if (atom.model === 0) point(atom.resi);
        const note = (spec.notes[atom.model] || {})[atom.resi] || "";
        if (!atom.mfLabel) atom.mfLabel = view.addLabel(
          atom.resn + " " + atom.resi + note,
          { position: atom, fontSize: 13, backgroundColor: "#222222", backgroundOpacity: 0.85 });
      }, (atom, view) => {
        point(null);
        if (atom.mfLabel) { view.removeLabel(atom.mfLabel); delete atom.mfLabel; }
      });
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
      figure.dispatchEvent(new Event("mf-live"));
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
