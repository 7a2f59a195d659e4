const SPANS = ['1h', '6h', '24h', '7d', '30d'];
const VERDICTS = { whole: ['\u2713', 'Whole'], not_whole: ['\u2715', 'Not whole'], cannot_tell: ['?', 'Cannot tell'],
  not_collected: ['\u2225', 'Whole except for known downtime'] };
const query = new URLSearchParams(location.search);
// The page's own query may have a format.
const asked = new URLSearchParams(query);
asked.set('format', 'json');
let showAll = false;
let report = null;

function verdict(r) {
  const [mark, text] = VERDICTS[r.verdict];
  $('hero').className = `hero ${r.verdict}`;
  put('verdict', el('span', { class: 'mark', 'aria-hidden': true }, mark), text);
  put('summary', r.summary);
  document.title = `${text} \u00b7 MarketPrism`;
  put('scope', `${clock(r.scope.from)} to ${clock(r.scope.to)} UTC${r.scope.table ? `, ${r.scope.table}` : ''}`);
  const from = query.get('from') || '24h';
  put('spans', SPANS.map((age) => {
    const to = new URLSearchParams(query);
    to.set('from', age);
    to.delete('to');
    to.delete('format');
    return el('a', { href: `?${to}`, 'aria-current': age === from && !query.get('to') ? 'true' : null }, age);
  }));
  put('foot', `Version ${r.version} of the report, computed in ${number(r.took_ms)} ms at ${clock(r.generated_at)} UTC. `,
    el('a', { href: `/integrity?${asked}` }, 'Report as JSON'));
}

function tiles(r) {
  const missing = r.heat_map.streams.reduce((sum, s) => sum + s.missing_events, 0);
  const sum = (side, key) => r.tables.reduce((all, t) => all + (t[side] ? t[side][key] : 0), 0);
  const lags = r.tables.map((t) => t.lag_minutes).filter((lag) => lag !== undefined);
  const duplicates = sum('hot', 'recent_duplicates') + sum('cold', 'recent_duplicates');
  const tile = (value, text, kind) => el('div', { class: 'tile' }, el('b', { class: kind }, value), el('span', {}, text));
  const w = r.windows;
  const of = (state) => (r.windows_percent ? `, ${percent(r.windows_percent[state])}` : '');
  const proofs = ['complete', 'received', 'lower_bound'].reduce((all, kind) => all + r.evidence[`${kind}_windows`], 0);
  const proven = ([kind, text, color]) => {
    const [count, rows] = [r.evidence[`${kind}_windows`], r.evidence[`${kind}_rows`]];
    // Rounded down: 100 % means all.
    const part = proofs ? `, ${percent(Math.floor((10000 * count) / proofs) / 100)}` : '';
    return tile(short(count), `${text}${part}, ${short(rows)} rows`, count ? color : 'soft');
  };
  put('tiles',
    tile(short(w.verified), `windows verified${of('verified')}`, 'good'),
    ...[['complete', 'verified complete', 'good'], ['received', 'stored = received', 'held'], ['lower_bound', 'lower bound', 'held']].map(proven),
    tile(short(w.mismatch), `windows mismatched${of('mismatch')}`, w.mismatch ? 'bad' : 'soft'),
    tile(short(w.unverifiable), `windows unverifiable${of('unverifiable')}`, w.unverifiable ? 'blind' : 'soft'),
    tile(short(w.not_collected), `windows not collected${of('not_collected')}`, w.not_collected ? 'idle' : 'soft'),
    tile(short(w.open), `windows open${of('open')}`, 'open'),
    tile(short(missing), 'missing events', missing ? 'gap' : 'soft'),
    tile(short(duplicates), 'recent duplicates', duplicates ? 'bad' : 'soft'),
    tile(lags.length ? `${Math.max(...lags)} min` : '\u2013', 'replication lag', lags.some((l) => l > 60) ? 'gap' : 'soft'),
    tile(short(sum('hot', 'rows')), 'rows in hot', ''),
    tile(short(sum('cold', 'rows')), 'rows in cold', ''));
}

function findings(r) {
  const one = (f) => el('li', {},
    el('span', { class: `level ${words[f.level][0]}` }, words[f.level][1]),
    el('div', {}, el('p', {}, el('b', {}, f.subject), ': ', f.text, ' ', el('code', { class: 'soft' }, f.code)), f.remedy ? el('p', { class: 'remedy' }, f.remedy) : null));
  const [loud, quiet] = [r.findings.filter((f) => f.level !== 'info'), r.findings.filter((f) => f.level === 'info')];
  put('findings',
    loud.length ? el('ul', { class: 'findings' }, loud.map(one)) : el('p', { class: 'good' }, '\u2713 no problems found'),
    quiet.length ? el('details', { open: $('findings').querySelector('details[open]') !== null }, el('summary', {}, `${plural(quiet.length, 'note')}`), el('ul', { class: 'findings' }, quiet.map(one))) : null);
  return undefined;
}

function proof(s) {
  const e = s.evidence;
  if (e.lower_bound_windows) return 'lower bound';
  if (!e.received_windows) return 'verified complete';
  return e.complete_windows ? `${short(e.complete_windows)} complete, ${short(e.received_windows)} as received` : 'stored = received';
}

function says(s) {
  const uncovered = s.windows.unverifiable - s.covered_windows;
  if (s.windows.mismatch) return ['bad', `\u2715 ${plural(s.windows.mismatch, 'mismatch').replace('mismatchs', 'mismatches')}`];
  if (s.missing_events) return ['gap', `\u25c6 ${number(s.missing_events)} missing`];
  if (uncovered > 0) return ['blind', `? ${number(uncovered)} unverifiable`];
  if (s.absent_windows) return ['blind', `? ${number(s.absent_windows)} without verdict`];
  if (s.not_collected_windows) return ['idle', `\u2225 ${number(s.not_collected_windows)} not collected`];
  if (s.windows.verified) return [s.evidence.received_windows + s.evidence.lower_bound_windows ? 'held' : 'good', `\u2713 ${proof(s)}`];
  return ['open', '\u2026 open'];
}

function detail(row, bin, at) {
  const [from, to] = [at(bin), at(bin + 1)];
  const within = (time) => Date.parse(time) >= from && Date.parse(time) < to;
  const windows = report.worst_windows.items.filter((w) => w.of === row.name && within(w.window_start));
  const gaps = report.gaps.items.filter((g) => g.stream === row.name && within(g.window_start));
  const node = $('detail');
  node.replaceChildren(
    el('b', {}, row.name), ` \u00b7 ${clock(from)} to ${clock(to)} UTC \u00b7 ${describe(row.cells[bin] || [])}`,
    el('ul', {},
      windows.map((w) => el('li', {}, `${clock(w.window_start)} ${w.state}${w.edge ? `, ${w.edge}` : ''}: ${w.reason || 'no reason given'} `,
        el('span', { class: 'soft' }, `(${number(w.found)} of ${number(w.expected)})`))),
      gaps.map((g) => el('li', {}, `${g.kind}, cause ${g.cause}: ${g.evidence}`))));
  node.hidden = false;
}

function heatMaps(r) {
  put('legend', legend());
  const rows = r.heat_map.streams.map((s) => ({ name: s.stream, cells: s.cells, says: says(s), evidence: s.evidence }));
  const shown = showAll ? rows : rows.slice(0, 40);
  const more = el('button', { type: 'button' }, `Show all ${number(rows.length)} streams`);
  more.addEventListener('click', () => { showAll = true; heatMaps(report); });
  const left = r.heat_map.streams_total - rows.length;
  put('heat', rows.length ? heat(r.heat_map, shown, detail) : el('p', { class: 'soft' }, 'No window of this period has a verdict.'),
    shown.length < rows.length ? more : null,
    left > 0 ? el('p', { class: 'soft' }, `${number(left)} more streams, none in a worse state.`) : null);
  const tables = r.heat_map.replication.map((t) => {
    const state = r.tables.find((other) => other.table === t.table);
    const w = state ? state.replication : { verified: 0, mismatch: 0, unverifiable: 0, open: 0 };
    const text = w.mismatch ? ['bad', `\u2715 ${number(w.mismatch)} different`]
      : w.unverifiable ? ['blind', `? ${number(w.unverifiable)} failed`]
        : w.verified ? ['good', '\u2713 equal'] : ['open', '\u2026 open'];
    return { name: t.table, cells: t.cells, says: text };
  });
  put('copies', tables.length ? heat(r.heat_map, tables, detail) : el('p', { class: 'soft' }, 'No window of this period was replicated.'));
}

// Consecutive windows with the same state and reason are one line.
function runs(windows) {
  const lines = [];
  for (const w of windows) {
    const last = lines[lines.length - 1];
    const same = last && ['kind', 'of', 'edge', 'state', 'reason'].every((key) => last[key] === w[key]);
    if (same && Date.parse(last.from) - Date.parse(w.window_start) === w.window_seconds * 1000) {
      last.from = w.window_start;
      last.count += 1;
      last.found += w.found;
      last.expected += w.expected;
    } else lines.push({ ...w, from: w.window_start, count: 1 });
  }
  return lines;
}

function lists(r, now) {
  const total = r.worst_windows.total;
  put('worst-hint', total ? `${number(total)} in all, mismatches first; ${number(r.worst_windows.items.length)} shown.` : 'Mismatched, unverifiable, failed or overdue windows.');
  put('worst', table([
    ['state', (w) => { const s = STATES[w.state === 'failed' ? 'unverifiable' : w.state] || STATES.none; return el('span', { class: s[0] }, `${s[1]} ${w.state}`); }, 'short'],
    ['window (UTC)', (w) => (w.count > 1 ? `${clock(w.from)} to ${clock(w.window_start).slice(11)} (${w.count})` : clock(w.from)), 'mono'],
    ['stream or table', (w) => w.of, 'mono'],
    ['edge', (w) => w.edge || '\u2013'],
    ['found', (w) => `${number(w.found)} of ${number(w.expected)}`, 'num'],
    ['reason', (w) => w.reason || '\u2013', 'wide'],
  ], runs(r.worst_windows.items), '\u2713 none'));
  $('downtimes-card').hidden = !r.downtimes.length;
  put('downtimes', table([
    ['from (UTC)', (d) => clock(d.from), 'mono'],
    ['to', (d) => (d.to ? clock(d.to) : 'lasts'), 'mono'],
    ['edge', (d) => d.edge],
    ['reason', (d) => d.reason],
    ['streams', (d) => number(d.streams), 'num'],
    ['not covered', (d) => el('span', { class: d.uncovered_streams ? 'idle' : 'good' }, number(d.uncovered_streams)), 'num'],
  ], r.downtimes, 'none'));
  const together = [...r.alone.items, ...r.filled.items].sort((a, b) => (a.from < b.from ? 1 : -1));
  $('redundancy-card').hidden = !together.length;
  put('redundancy', table([
    ['from (UTC)', (t) => clock(t.from), 'mono'],
    ['to', (t) => clock(t.to), 'mono'],
    ['edge', (t) => t.edge],
    ['', (t) => (t.by ? `holes filled by ${t.by}` : 'alone')],
    ['streams', (t) => number(t.streams), 'num'],
  ], together, 'none'));
  $('edges-card').hidden = !r.edges.length;
  put('edges', adapterTable(r.edges));
  $('changes-card').hidden = !r.changes.total;
  put('changes-hint', `${number(r.changes.total)} in the period, the newest first; ${number(r.changes.items.length)} shown.`);
  put('changes', changeTable(r.changes.items));
  $('corrections-card').hidden = !r.corrections.total;
  put('corrections-hint', `Spans that another version of an adapter normalized again: its events win. Order-book changes (orderbook_delta) are never corrected. ${number(r.corrections.total)} touch the period, the newest first; ${number(r.corrections.items.length)} shown.`);
  put('corrections', correctionTable(r.corrections.items));
  put('gaps-hint', r.gaps.total ? `${number(r.gaps.total)} in all; the newest ${number(r.gaps.items.length)} with cause and evidence.` : 'Gaps that edges detected, with cause and evidence.');
  put('gaps', table([
    ['from (UTC)', (g) => (g.from ? clock(g.from) : '\u2013'), 'mono'],
    ['to', (g) => (g.to ? clock(g.to).slice(11) : '\u2013'), 'mono'],
    ['clock', (g) => g.clock],
    ['stream', (g) => g.stream, 'mono'],
    ['edge', (g) => g.edge],
    ['cause', (g) => el('b', {}, g.cause)],
    ['detected by', (g) => g.kind.replaceAll('_', ' ')],
    ['missing', (g) => (g.missing === null ? 'unknown' : number(g.missing)), 'num'],
    ['evidence', (g) => g.evidence, 'wide'],
  ], r.gaps.items, '\u2713 none'));
  $('losses-card').hidden = !r.losses.total;
  put('losses', table([
    ['detected (UTC)', (l) => clock(l.seen_at), 'mono'],
    ['stream', (l) => l.stream, 'mono'],
    ['messages', (l) => number(l.messages), 'num'],
    ['sequences', (l) => `${l.from_seq} to ${l.to_seq}`, 'num'],
    ['cause', (l) => l.cause],
    ['evidence', (l) => l.evidence, 'wide'],
  ], r.losses.items, 'none'));
  put('letters', table([
    ['reason', (d) => d.reason, 'wide'],
    ['messages', (d) => number(d.messages), 'num'],
    ['newest', (d) => ago(d.newest, now), 'num'],
  ], r.dead_letters, '\u2713 none'));
}

function latency(r) {
  const hop = (name) => (s) => {
    const found = s.hops.find((one) => one.hop === name);
    return found ? el('span', { title: `${number(found.events)} events` }, quantiles([found.p50_us, found.p90_us, found.p99_us])) : '\u2013';
  };
  put('latency', table([
    ['edge', (s) => s.edge],
    ['venue', (s) => s.exchange, 'mono'],
    ['type', (s) => s.data_type.replaceAll('_', ' ')],
    ['venue to edge', hop('venue_to_edge'), 'num'],
    ['receive to publish', hop('receive_to_publish'), 'num'],
    ['publish to ack', hop('publish_to_ack'), 'num'],
    ['edge to hot', hop('edge_to_hot'), 'num'],
    ['how far it can be trusted', (s) => s.trust],
  ], r.latency.streams, 'No edge has reported latencies.'));
  const clocks = r.latency.clocks.map((c) => [c.edge, c.exchange, `${length(c.offset_us)} \u00b1 ${length(c.error_us)}`, clock(c.measured_at), Math.abs(c.worst_offset_us) - c.worst_error_us > 500000])
    .concat(r.latency.clock_steps.map((s) => [s.edge, 'clock was set', length(s.by_us), clock(s.at), true]));
  put('clocks', clocks.length ? el('h3', {}, 'Clocks of the edges') : null, clocks.length ? table([
    ['edge', (c) => c[0]],
    ['against', (c) => c[1], 'mono'],
    ['offset', (c) => el('span', { class: c[4] ? 'gap' : 'good' }, c[2]), 'num'],
    ['at (UTC)', (c) => c[3], 'mono'],
  ], clocks, '') : null);
}

// Share of the verified windows; the others by state.
function share(windows, percents) {
  if (!percents) return '\u2013';
  const kind = windows.mismatch ? 'bad' : windows.unverifiable ? 'blind' : windows.not_collected ? 'idle' : windows.verified ? 'good' : 'open';
  const others = ['mismatch', 'unverifiable', 'not_collected', 'open'].filter((state) => windows[state]);
  return el('span', { title: states(windows) }, el('span', { class: kind }, percent(percents.verified)),
    others.map((state) => [el('br'), el('span', { class: 'soft' }, `${percent(percents[state])} ${state.replaceAll('_', ' ')}`)]));
}

function tables(r, now) {
  const held = (side, key) => (t) => (t[side] ? number(t[side][key]) : 'no answer');
  put('tables', table([
    ['table', (t) => t.table, 'mono'],
    ['', (t) => level(t.level)],
    ['rows hot', held('hot', 'rows'), 'num'],
    ['recent hot', held('hot', 'recent_rows'), 'num'],
    ['newest hot', (t) => (t.hot ? ago(t.hot.newest, now) : ''), 'num'],
    ['rows cold', held('cold', 'rows'), 'num'],
    ['recent cold', held('cold', 'recent_rows'), 'num'],
    ['newest cold', (t) => (t.cold ? ago(t.cold.newest, now) : ''), 'num'],
    ['lag', (t) => (t.lag_minutes === undefined ? '\u2013' : `${t.lag_minutes} min`), 'num'],
    ['duplicates', (t) => number((t.hot ? t.hot.recent_duplicates : 0) + (t.cold ? t.cold.recent_duplicates : 0)), 'num'],
    ['hot = audits', (t) => share(t.audited, t.audited_percent), 'num'],
    ['cold = hot', (t) => share(t.replication, t.replication_percent), 'num'],
  ], r.tables, 'none'));
}

function coverage(r) {
  const markets = [...new Set(r.coverage.map((c) => `${c.exchange} ${c.market_type}`))];
  const types = [...new Set(r.tables.map((t) => t.data_type))];
  if (!markets.length) return put('coverage', el('p', { class: 'soft' }, 'No rows have arrived.'));
  const rows = (side) => (side ? short(side.rows) : 'no answer');
  const audited = (c) => (c.windows_percent ? `${percent(c.windows_percent.verified)} verified` : 'no audit');
  const cell = (market, type) => {
    const c = r.coverage.find((one) => `${one.exchange} ${one.market_type}` === market && one.data_type === type);
    if (!c) return el('span', { class: 'soft' }, '\u2013');
    const mark = c.status === 'ok' ? '\u2713' : '\u2715';
    const age = c.age_seconds === undefined ? c.status : span(c.age_seconds);
    const all = ['hot', 'cold'].map((side) => `${side}: ${c[side] ? number(c[side].rows) : 'no answer'} rows`).join(', ');
    return el('span', { class: `cell ${c.status === 'ok' ? 'ok' : 'stale'}`, title: `${c.status}, ${all}; ${states(c.windows)}` },
      `${mark} ${age}`, el('br'), el('span', { class: 'soft' }, `hot ${rows(c.hot)}`), el('br'), el('span', { class: 'soft' }, `cold ${rows(c.cold)}`),
      el('br'), el('span', { class: !c.is_judged ? 'blind' : c.windows.mismatch ? 'bad' : 'soft' }, audited(c)));
  };
  put('coverage', el('div', { class: 'scroll' }, el('table', { class: 'matrix' },
    el('thead', {}, el('tr', {}, el('th', { scope: 'col' }, 'market'), types.map((type) => el('th', { scope: 'col' }, type.replaceAll('_', ' '))))),
    el('tbody', {}, markets.map((market) => el('tr', {}, el('th', { scope: 'row' }, market), types.map((type) => el('td', {}, cell(market, type)))))))));
  return undefined;
}

function systems(r, now) {
  put('broker', broker(r.broker));
  put('clickhouse', table([
    ['server', (s) => `${s.role} (${s.database})`, 'mono'],
    ['version', (s) => s.version],
    ['up', (s) => span(s.uptime_seconds), 'num'],
    ['parts', (s) => number(s.parts), 'num'],
    ['size', (s) => bytes(s.bytes), 'num'],
    ['free', (s) => s.disks.map((d) => `${d.disk}: ${bytes(d.free_bytes)}${d.total_bytes ? ` (${Math.round((100 * d.free_bytes) / d.total_bytes)} %)` : ''}`).join(', '), 'wide'],
  ], r.clickhouse, 'no server answered'));
  put('leases', leases(r.leases, now));
  put('schema-hint', r.schema ? `Tables compared with their definitions ${ago(r.schema.checked_at, now)}.` : 'Not compared.');
  put('schema', !r.schema ? el('p', { class: 'blind' }, '? no answer') : table([
    ['object', (d) => d.what, 'mono'],
    ['difference', (d) => d.difference, 'wide'],
    ['change in place', (d) => (d.changeable ? 'init --apply' : 'no')],
  ], r.schema.differences, r.schema.as_wanted ? '\u2713 no difference' : '? not everything could be compared'));
}

follow(`/integrity?${asked}`, 10, (answer) => {
  report = answer;
  const now = Date.parse(answer.generated_at);
  verdict(answer);
  tiles(answer);
  findings(answer);
  heatMaps(answer);
  lists(answer, now);
  latency(answer);
  tables(answer, now);
  coverage(answer);
  systems(answer, now);
});
