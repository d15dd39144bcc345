// What the viewers of maps share: making elements, unpacking bytes, colours, and a square map with
// numbers at its sides.
window.minifoldTools = window.minifoldTools || (function () {
  "use strict";
  const MARGIN = 34;  // pixels for the numbers beside a map

  function element(parent, tag, properties, attributes) {
    const made = Object.assign(document.createElement(tag), properties || {});
    for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
    parent.appendChild(made);
    return made;
  }

  async function unpack(base64) {
    const bytes = Uint8Array.from(atob(base64), c => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  // 256 colours from a few
  function ramp(stops) {
    const rgb = stops.map(s => [1, 3, 5].map(k => parseInt(s.slice(k, k + 2), 16)));
    return Array.from({ length: 256 }, (_, v) => {
      const x = v / 255 * (rgb.length - 1), k = Math.min(Math.floor(x), rgb.length - 2);
      return rgb[k].map((c, i) => Math.round(c + (x - k) * (rgb[k + 1][i] - c)));
    });
  }

  // one pixel a cell; `shade` gives the place of a cell in the colours
  function paint(canvas, rows, columns, colors, shade) {
    canvas.width = columns; canvas.height = rows;
    const pen = canvas.getContext("2d"), image = pen.createImageData(columns, rows);
    for (let i = 0; i < rows * columns; i++) image.data.set([...colors[shade(i)], 255], 4 * i);
    pen.putImageData(image, 0, 0);
    return canvas;
  }

  class Sheet {  // a square canvas with a map on it
    constructor(canvas, rows, columns) { this.canvas = canvas; this.resize(rows, columns); }

    resize(rows, columns) { this.rows = rows; this.columns = columns; }

    geometry() {  // in CSS pixels
      const side = this.canvas.clientWidth - MARGIN;
      return { side: side, dx: side / this.columns, dy: side / this.rows };
    }

    cell(event) {  // [row, column] under the pointer, or null
      const box = this.canvas.getBoundingClientRect(), { dx, dy } = this.geometry();
      const column = Math.floor((event.clientX - box.left - MARGIN) / dx);
      const row = Math.floor((event.clientY - box.top - MARGIN) / dy);
      return row >= 0 && column >= 0 && row < this.rows && column < this.columns ? [row, column] : null;
    }

    // the picture with a border and numbers; then `pen` draws on it, from its corner on
    draw(picture, colors, rowNumbers, columnNumbers) {
      const width = this.canvas.clientWidth, scale = window.devicePixelRatio || 1;
      if (!width) return null;
      const { side, dx, dy } = this.geometry(), pen = this.canvas.getContext("2d");
      this.canvas.width = this.canvas.height = Math.round(width * scale);
      pen.scale(scale, scale);
      pen.translate(MARGIN, MARGIN);
      pen.imageSmoothingEnabled = false;
      pen.drawImage(picture, 0, 0, side, side);
      pen.strokeStyle = colors.line;
      pen.strokeRect(-.5, -.5, side + 1, side + 1);
      pen.fillStyle = colors.soft;
      pen.font = "11px system-ui, sans-serif";
      pen.textBaseline = "middle";
      const each = (numbers, write) => {
        const step = [1, 2, 5, 10, 20, 50, 100, 200].find(s => side / numbers.length * s > 24) || 500;
        numbers.forEach((number, i) => { if (number % step === 0) write(number, i + .5); });
      };
      pen.textAlign = "center";
      each(columnNumbers, (number, at) => pen.fillText(number, at * dx, -10));
      pen.textAlign = "right";
      each(rowNumbers, (number, at) => pen.fillText(number, -5, at * dy));
      return pen;
    }
  }

  return { element, unpack, ramp, paint, Sheet };
})();
