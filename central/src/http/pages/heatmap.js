// Windows by stream and time. Adjacent cells of one state are drawn as one rectangle, so that long periods stay fast.

const STATES = {
  mismatch: ['bad', '\u2715', 'mismatch'],
  missing: ['gap', '\u25c6', 'events missing'],
  unverifiable: ['blind', '?', 'unverifiable'],
  not_collected: ['idle', '\u2225', 'not collected'],
  open: ['open', '\u2026', 'open'],
  lower_bound: ['held', '\u2265', 'lower bound'],
  received: ['held', '\u25d2', 'stored = received'],
  complete: ['good', '\u2713', 'verified complete'],
  verified: ['good', '\u2713', 'equal'],
  none: ['soft', '', 'no verdict'],
};

// The more is proven, the higher the bar: verified time differs in more than its colour.
const HEIGHTS = { received: 0.66, lower_bound: 0.33 };

function stateOf(cell, row) {
  if (!cell.length) return 'none';
  const [verified, mismatch, unverifiable, open, notCollected, missing, complete] = cell;
  if (mismatch) return 'mismatch';
  if (missing) return 'missing';
  if (unverifiable) return 'unverifiable';
  if (notCollected) return 'not_collected';
  if (verified && !row.evidence) return 'verified';
  if (verified && complete >= verified) return 'complete';
  if (verified) return row.evidence.lower_bound_windows ? 'lower_bound' : 'received';
  return open ? 'open' : 'none';
}

function describe(cell) {
  const names = ['verified', 'mismatch', 'unverifiable', 'open', 'not collected', 'missing events', 'verified complete'];
  const parts = cell.map((count, i) => (count ? `${number(count)} ${names[i]}` : '')).filter(Boolean);
  return parts.join(', ') || 'no verdict';
}

function svg(tag, attributes) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

// rows: [{ name, cells, says: [class, text] }]; pick(row, bin) is called when a cell is selected.
function heat(map, rows, pick) {
  const start = Date.parse(map.from);
  const at = (bin) => start + bin * map.bin_seconds * 1000;
  const grid = el('div', { class: 'heat' });
  grid.append(el('span', { class: 'corner' }), axis(map, at), el('span', { class: 'corner' }));
  for (const row of rows) {
    const label = `${row.name}: ${row.says[1]}`;
    const strip = svg('svg', {
      viewBox: `0 0 ${map.bins} 1`, preserveAspectRatio: 'none', role: 'img', tabindex: 0, 'aria-label': label,
      'data-stream': row.name,
    });
    paint(strip, row, at);
    const bin = (event) => {
      const box = strip.getBoundingClientRect();
      return Math.max(0, Math.min(map.bins - 1, Math.floor(((event.clientX - box.left) / box.width) * map.bins)));
    };
    strip.addEventListener('pointermove', (event) => hover(event, row, bin(event), at));
    strip.addEventListener('pointerleave', () => { $('tip').hidden = true; });
    strip.addEventListener('click', (event) => pick(row, bin(event), at));
    strip.addEventListener('keydown', (event) => {
      if (event.key === 'Enter') pick(row, worst(row), at);
    });
    const dot = row.name.lastIndexOf('.');
    const name = el('span', { class: 'name', title: row.name },
      row.name.slice(0, dot + 1), el('b', {}, row.name.slice(dot + 1)));
    grid.append(name, strip, el('span', { class: `says ${row.says[0]}`, title: row.says[1] }, row.says[1]));
  }
  // On a narrow screen the text precedes the strip.
  if (matchMedia('(max-width: 720px)').matches) {
    for (const strip of grid.querySelectorAll('svg')) strip.before(strip.nextSibling);
  }
  return grid;
}

function worst(row) {
  const order = Object.keys(STATES);
  const rank = (bin) => order.indexOf(stateOf(row.cells[bin], row));
  let found = 0;
  row.cells.forEach((cell, bin) => {
    if (rank(bin) < rank(found)) found = bin;
  });
  return found;
}

function paint(strip, row, at) {
  for (let bin = 0; bin < row.cells.length;) {
    const state = stateOf(row.cells[bin], row);
    let end = bin + 1;
    while (end < row.cells.length && stateOf(row.cells[end], row) === state) end += 1;
    if (state !== 'none') {
      const rect = svg('rect', {
        x: bin, width: end - bin, y: 1 - (HEIGHTS[state] || 1), height: HEIGHTS[state] || 1, class: `state-${state}`, 'data-state': state,
        'data-from': new Date(at(bin)).toISOString(), 'data-to': new Date(at(end)).toISOString(),
      });
      strip.append(rect);
    }
    bin = end;
  }
}

function axis(map, at) {
  const node = el('div', { class: 'axis', 'aria-hidden': true });
  const days = map.bins * map.bin_seconds > 172800;
  const ticks = matchMedia('(max-width: 720px)').matches ? 3 : 6;
  for (let tick = 0; tick <= ticks; tick += 1) {
    const text = clock(at((map.bins * tick) / ticks));
    const mark = el('span', {}, days ? text.slice(5, 10) : text.slice(11, 16));
    mark.style.left = `${(100 * tick) / ticks}%`;
    node.append(mark);
  }
  return node;
}

function hover(event, row, bin, at) {
  const tip = $('tip');
  const state = STATES[stateOf(row.cells[bin] || [], row)];
  tip.replaceChildren(
    el('b', {}, row.name),
    el('span', { class: 'soft' }, `${clock(at(bin))} to ${clock(at(bin + 1)).slice(11)} UTC`), el('br'),
    el('span', { class: state[0] }, `${state[1]} ${state[2]}`), ` \u00b7 ${describe(row.cells[bin] || [])}`,
  );
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(6, Math.min(innerWidth - box.width - 8, event.clientX + 14))}px`;
  tip.style.top = `${event.clientY + 22 + box.height > innerHeight ? event.clientY - box.height - 12 : event.clientY + 18}px`;
}

function legend() {
  const order = ['complete', 'received', 'lower_bound', 'mismatch', 'missing', 'unverifiable', 'not_collected', 'open', 'none'];
  return el('div', { class: 'legend' },
    order.map((state) => el('span', {}, el('i', { class: state }), `${STATES[state][1]} ${STATES[state][2]}`.trim())));
}
