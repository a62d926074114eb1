// The map: items as dots on a canvas; a title shows at the pointer, the tap or the arrow keys.
{
  const data = JSON.parse(document.getElementById("map-data").textContent);
  const canvas = document.getElementById("map-canvas");
  const tip = document.getElementById("map-tip");
  const input = document.getElementById("map-search");
  const count = document.getElementById("map-count");
  const size = data.x.length;
  const view = { scale: 1, x: 0, y: 0 }; // where the middle is
  let group = null, wanted = "", chosen = -1, drag = null;
  let width = 0, height = 0;

  const titles = data.title.map((title) => title.toLowerCase());
  const shown = (n) => (group === null || data.group[n] === group) && titles[n].includes(wanted);
  // The same unit along both axes, centred on what there is.
  const ends = (values) => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
  const [[left, right], [bottom, top]] = [ends(data.x), ends(data.y)];
  const centre = [(left + right) / 2, (bottom + top) / 2];
  const radius = () => Math.min((width - 28) / (right - left || 1), (height - 28) / (top - bottom || 1));
  const place = (n) => [
    width / 2 + (data.x[n] - view.x) * radius() * view.scale,
    height / 2 - (data.y[n] - view.y) * radius() * view.scale,
  ];

  function draw() {
    const style = getComputedStyle(document.documentElement);
    const context = canvas.getContext("2d");
    const dense = window.devicePixelRatio || 1;
    width = canvas.clientWidth; height = canvas.clientHeight;
    canvas.width = width * dense; canvas.height = height * dense;
    context.scale(dense, dense);
    const single = data.labels.length === 1;
    const colours = data.labels.map((_, n) => style.getPropertyValue(single ? "--model" : `--g${n}`));
    const dot = Math.max(2, Math.min(5, 130 / Math.sqrt(size))) * Math.min(2, Math.sqrt(view.scale));
    const narrowed = group !== null || wanted !== "";
    const paint = (wantsShown, alpha) => {
      context.globalAlpha = alpha;
      for (let n = 0; n < size; n += 1) {
        if (shown(n) !== wantsShown) continue;
        const [x, y] = place(n);
        if (x < -9 || y < -9 || x > width + 9 || y > height + 9) continue;
        context.fillStyle = colours[data.group[n]];
        context.beginPath();
        context.arc(x, y, wantsShown && narrowed ? dot * 1.25 : dot, 0, 7);
        context.fill();
      }
    };
    if (narrowed) paint(false, 0.1);
    paint(true, narrowed ? 0.95 : 0.72);
    if (chosen >= 0) {
      const [x, y] = place(chosen);
      context.globalAlpha = 1;
      context.lineWidth = 2;
      context.strokeStyle = style.getPropertyValue("--ink");
      context.beginPath();
      context.arc(x, y, dot + 4, 0, 7);
      context.stroke();
    }
  }

  function choose(n) {
    chosen = n;
    tip.hidden = n < 0;
    if (n >= 0) {
      tip.firstElementChild.textContent = data.title[n];
      tip.lastElementChild.textContent = data.labels.length > 1 ? data.labels[data.group[n]] : "";
      const [x, y] = place(n);
      const beside = Math.max(4, Math.min(x + 12, width - tip.offsetWidth - 4));
      const below = y + 14 + tip.offsetHeight > height ? y - tip.offsetHeight - 12 : y + 14;
      tip.style.transform = `translate(${beside}px, ${Math.max(4, below)}px)`;
    }
    draw();
  }

  function nearest(x, y, reach) {
    let best = -1, least = reach * reach;
    for (let n = 0; n < size; n += 1) {
      if (!shown(n)) continue;
      const [px, py] = place(n);
      const far = (px - x) ** 2 + (py - y) ** 2;
      if (far < least) { least = far; best = n; }
    }
    return best;
  }

  // The closest item in a direction, counting what lies off it twice.
  function step(dx, dy) {
    if (chosen < 0) return nearest(width / 2, height / 2, Infinity);
    const [x, y] = place(chosen);
    let best = chosen, least = Infinity;
    for (let n = 0; n < size; n += 1) {
      if (n === chosen || !shown(n)) continue;
      const [px, py] = place(n);
      const along = (px - x) * dx + (py - y) * dy;
      const off = Math.abs((px - x) * dy) + Math.abs((py - y) * dx);
      if (along > 0 && along + 2 * off < least) { least = along + 2 * off; best = n; }
    }
    return best;
  }

  function zoom(factor) {
    view.scale = factor ? Math.max(1, Math.min(40, view.scale * factor)) : 1;
    if (view.scale === 1) [view.x, view.y] = centre;
    else if (chosen >= 0) { view.x = data.x[chosen]; view.y = data.y[chosen]; }
    canvas.classList.toggle("zoomed", view.scale > 1);
    choose(chosen);
  }

  function at(event) {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  canvas.addEventListener("pointerdown", (event) => {
    choose(nearest(...at(event), event.pointerType === "mouse" ? 12 : 24));
    if (view.scale > 1) { drag = at(event); canvas.setPointerCapture(event.pointerId); }
  });
  canvas.addEventListener("pointermove", (event) => {
    if (drag) {
      const [x, y] = at(event);
      view.x -= (x - drag[0]) / (radius() * view.scale);
      view.y += (y - drag[1]) / (radius() * view.scale);
      drag = [x, y];
      choose(chosen);
    } else if (event.pointerType === "mouse") {
      const found = nearest(...at(event), 12);
      if (found !== chosen) choose(found);
    }
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { drag = null; });
  canvas.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") choose(-1); });
  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
    if (moves[event.key]) choose(step(...moves[event.key]));
    else if (event.key === "+") zoom(1.6);
    else if (event.key === "-") zoom(1 / 1.6);
    else if (event.key === "Escape") choose(-1);
    else return;
    event.preventDefault();
  });
  for (const button of document.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => zoom({ in: 1.6, out: 1 / 1.6, reset: 0 }[button.dataset.zoom]));
  }
  const legend = [...document.querySelectorAll("[data-group]")];
  for (const button of legend) {
    button.addEventListener("click", () => {
      const own = Number(button.dataset.group);
      group = group === own ? null : own;
      for (const each of legend) {
        each.setAttribute("aria-pressed", String(Number(each.dataset.group) === group));
      }
      choose(-1);
    });
  }
  input.addEventListener("input", () => {
    wanted = input.value.trim().toLowerCase();
    const found = wanted ? titles.filter((title) => title.includes(wanted)).length : 0;
    count.textContent = wanted ? `${found} of ${size} items` : "";
    choose(found === 1 ? titles.findIndex((title) => title.includes(wanted)) : -1);
  });

  [view.x, view.y] = centre;
  input.closest("label").hidden = false;
  document.querySelector(".zoom").hidden = false;
  new ResizeObserver(() => choose(chosen)).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
