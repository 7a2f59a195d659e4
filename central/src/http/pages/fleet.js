// Tables of edges, shared by the pages.

const LIVES = { running: ['good', '\u2713 running'], stopped: ['idle', '\u2225 stopped'], silent: ['bad', '\u2715 silent'], unreadable: ['gap', '! unreadable'] };
const PARTS = { active: ['good', '\u2713 active'], shadow: ['held', '\u2026 shadow'], probation: ['gap', '\u2026 probation'] };
const OUTCOMES = { promoted: 'good', applied: 'good', running: 'held', refused: 'gap', rolled_back: 'bad', stopped: 'idle' };
const STATUSES = { healthy: 'good', degraded: 'gap', unhealthy: 'bad' };

const marked = (kinds, name) => {
  const [kind, text] = kinds[name] || ['soft', name];
  return el('span', { class: kind }, text);
};
const outcome = (name) => el('span', { class: OUTCOMES[name] || 'soft' }, name.replaceAll('_', ' '));
const shortened = (digest) => el('span', { title: digest }, digest ? digest.slice(0, 12) : '\u2013');

function swapText(swap) {
  if (!swap) return '\u2013';
  const target = swap.to || `component ${swap.digest.slice(0, 12)}`;
  return el('span', {}, outcome(swap.outcome), ` ${target}, ${clock(swap.ended || swap.started)}`, swap.cause ? `: ${swap.cause}` : '');
}

function adapterTable(edges) {
  const rows = edges.flatMap((edge) => edge.adapters.map((adapter) => ({ edge: edge.edge, ...adapter })));
  return table([
    ['edge', (a) => a.edge, 'mono'],
    ['adapter', (a) => a.adapter, 'mono'],
    ['version', (a) => a.version, 'mono'],
    ['digest', (a) => shortened(a.digest), 'mono'],
    ['state', (a) => marked(PARTS, a.state)],
    ['exchanges', (a) => a.exchanges.join(', ')],
    ['last change (UTC)', (a) => swapText(a.last_swap), 'wide'],
  ], rows, 'No edge reports an adapter.');
}

function changeTable(changes) {
  return table([
    ['at (UTC)', (c) => clock(c.at), 'mono'],
    ['edge', (c) => c.edge, 'mono'],
    ['kind', (c) => c.kind],
    ['what', (c) => c.subject || shortened(c.digest), 'mono'],
    ['from', (c) => c.from || '\u2013', 'wide'],
    ['to', (c) => c.to || '\u2013', 'wide'],
    ['outcome', (c) => outcome(c.outcome)],
    ['why', (c) => c.why],
    ['cause', (c) => c.cause || '\u2013', 'wide'],
  ], changes, 'none');
}

function correctionTable(corrections) {
  const rows = (c, of) => (c.applied ? number(c.applied[of]) : '\u2013');
  return table([
    ['closed (UTC)', (c) => clock(c.at), 'mono'],
    ['correction', (c) => shortened(c.correction), 'mono'],
    ['edge', (c) => c.edge, 'mono'],
    ['exchange', (c) => c.exchange, 'mono'],
    ['type', (c) => c.data_type],
    ['from', (c) => clock(c.from), 'mono'],
    ['to', (c) => clock(c.to), 'mono'],
    ['old version', (c) => `${c.old_adapter} ${c.old_digest}`, 'wide'],
    ['new version', (c) => `${c.new_adapter} ${c.new_digest}`, 'wide'],
    ['changed', (c) => number(c.changed), 'num'],
    ['added', (c) => number(c.added), 'num'],
    ['withdrawn', (c) => number(c.withdrawn), 'num'],
    ['state', (c) => el('span', { class: c.state === 'applied' ? 'good' : 'held', title: c.again || '' }, c.state)],
    ['rows replaced', (c) => rows(c, 'replaced'), 'num'],
    ['rows added', (c) => rows(c, 'added'), 'num'],
    ['rows withdrawn', (c) => rows(c, 'withdrawn'), 'num'],
    ['absent', (c) => rows(c, 'absent'), 'num'],
  ], corrections, 'none');
}
