// Shared by the pages. Text from outside is inserted as text nodes only, never as markup.

const $ = (id) => document.getElementById(id);

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === 'class') node.className = value;
    else node.setAttribute(name, value === true ? '' : value);
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined) node.append(child instanceof Node ? child : String(child));
  }
  return node;
}

const put = (id, ...children) => $(id).replaceChildren(...children.flat().filter((child) => child !== null));
const number = (value) => (value === undefined || value === null ? '\u2013' : Number(value).toLocaleString('en-US'));
const plural = (count, what) => `${number(count)} ${what}${count === 1 ? '' : 's'}`;

const percent = (value) => `${value.toFixed(2)} %`;
const states = (windows) => Object.entries(windows).map(([state, count]) => `${number(count)} ${state.replaceAll('_', ' ')}`).join(', ');

function short(value) {
  const steps = [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e4, 'k']];
  for (const [step, unit] of steps) {
    if (value >= step) return (value / (unit === 'k' ? 1e3 : step)).toFixed(value >= step * 10 && unit !== 'k' ? 0 : 1) + unit;
  }
  return number(value);
}

function bytes(value) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit += 1; }
  return `${value.toFixed(value < 10 && unit ? 1 : 0)} ${units[unit]}`;
}

function span(seconds) {
  if (seconds < 0) return 'ahead of the clock';
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

// A length of time in microseconds.
function length(us) {
  const size = Math.abs(us);
  if (size < 1e3) return `${us} us`;
  const [value, unit] = size < 1e6 ? [us / 1e3, 'ms'] : [us / 1e6, 's'];
  return `${value.toFixed(Math.abs(value) < 10 ? 1 : 0)} ${unit}`;
}

const quantiles = (list) => list.map(length).join(' / ');

const ago = (time, now) => (time ? `${span((now - Date.parse(time)) / 1000)} ago` : '\u2013');
const clock = (time) => (time ? new Date(time).toISOString().slice(0, 19).replace('T', ' ') : '\u2013');

// columns: [label, value of a row, class]
function table(columns, rows, empty) {
  if (!rows.length) return el('p', { class: 'soft' }, empty);
  const head = el('tr', {}, columns.map(([label, , kind]) => el('th', { class: kind, scope: 'col' }, label)));
  const line = (row) =>
    el('tr', {}, columns.map(([label, value, kind]) => el('td', { class: kind, 'data-label': label }, value(row))));
  return el('div', { class: 'scroll' },
    el('table', { class: 'cards' }, el('thead', {}, head), el('tbody', {}, rows.map(line))));
}

const words = {
  fail: ['bad', '\u2715 fail'], unknown: ['blind', '? unknown'], downtime: ['idle', '\u2225 downtime'], warn: ['gap', '! warning'], info: ['soft', 'i info'],
};

const level = (name) =>
  (name ? el('span', { class: words[name][0] }, words[name][1]) : el('span', { class: 'good' }, '\u2713 ok'));

// Polls every `seconds`, passes answers on, and shows the age of the newest.
function follow(url, seconds, show) {
  let newest = 0;
  let trouble = '';
  const showAge = () => {
    const node = $('live');
    const age = (Date.now() - newest) / 1000;
    const stale = trouble || age > 3 * seconds;
    node.className = `live ${stale ? 'stale' : 'fresh'}`;
    if (!newest) node.textContent = trouble ? `no answer: ${trouble}` : 'loading';
    else if (stale) node.textContent = `STALE: last answer ${span(age)} ago${trouble ? ` (${trouble})` : ''}`;
    else node.textContent = `live, ${span(age)} old`;
  };
  const ask = async () => {
    try {
      const answer = await fetch(url, { headers: { accept: 'application/json' }, signal: AbortSignal.timeout(30000) });
      const body = await answer.json();
      if (!answer.ok) throw new Error(body.error || `status ${answer.status}`);
      show(body);
      newest = Date.now();
      trouble = '';
    } catch (error) {
      trouble = String(error.message || error);
    }
    showAge();
    setTimeout(ask, seconds * 1000);
  };
  setInterval(showAge, 1000);
  ask();
}

function leases(list, now) {
  return table([
    ['lease', (l) => l.lease, 'mono'],
    ['held by', (l) => l.holder, 'wide'],
    ['for', (l) => (l.since ? span((now - Date.parse(l.since)) / 1000) : '\u2013'), 'num'],
    ['renewed', (l) => {
      const old = l.renewed ? (now - Date.parse(l.renewed)) / 1000 : Infinity;
      return el('span', { class: old > 15 ? 'bad' : 'good' }, old > 15 ? `\u2715 ${ago(l.renewed, now)}` : `\u2713 ${ago(l.renewed, now)}`);
    }],
  ], list, 'no lease is held');
}

function broker(streams) {
  const rows = streams.flatMap((s) => (s.consumers.length ? s.consumers.map((c) => [s, c]) : [[s, null]]));
  return table([
    ['stream', ([s]) => s.stream, 'mono'],
    ['messages', ([s]) => number(s.messages), 'num'],
    ['size', ([s]) => bytes(s.bytes), 'num'],
    ['replicas', ([s]) => `${s.replicas_current}/${s.replicas}${s.replicas > 1 && s.leader ? `, led by ${s.leader}` : ''}`],
    ['consumer', ([, c]) => (c ? c.consumer : 'none'), 'mono'],
    ['pending', ([, c]) => (c ? number(c.pending) : ''), 'num'],
    ['unacknowledged', ([, c]) => (c ? number(c.ack_pending) : ''), 'num'],
    ['redelivered', ([, c]) => (c ? number(c.redelivered) : ''), 'num'],
  ], rows, 'the broker did not answer');
}
