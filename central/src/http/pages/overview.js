const rate = (value) => (value >= 100 ? number(Math.round(value)) : value.toFixed(value < 1 ? 2 : 1));

function arriving(o) {
  const rows = [...o.arriving].sort((a, b) => b.events_per_second - a.events_per_second);
  const most = Math.max(1, ...rows.map((row) => row.events_per_second));
  const bar = (row) => {
    const node = el('i', { class: 'rate', 'aria-hidden': true });
    node.style.width = `${Math.max(2, 90 * (row.events_per_second / most))}px`;
    return el('span', {}, node, rate(row.events_per_second));
  };
  put('arriving', table([
    ['venue', (row) => row.exchange, 'mono'],
    ['type', (row) => row.data_type.replaceAll('_', ' ')],
    ['events per second', bar],
    ['newest stored', (row) => `${span(row.age_seconds)} ago`, 'num'],
    ['', (row) => (row.status === 'ok' ? el('span', { class: 'good' }, '\u2713 ok') : el('span', { class: 'bad' }, '\u2715 stale'))],
    ['events since start', (row) => number(row.events_since_start), 'num'],
  ], rows, 'No events have arrived at this central.'));
}

follow('/overview', 5, (o) => {
  const now = Date.parse(o.generated_at);
  const problems = [...o.reasons, ...o.not_held, ...o.unanswered.map((one) => `${one.part}: no answer (${one.reason})`)];
  const flowing = o.arriving.reduce((sum, row) => sum + row.events_per_second, 0);
  const pending = o.broker.flatMap((s) => s.consumers).reduce((sum, c) => sum + c.pending, 0);
  const lag = o.cold.length ? Math.max(...o.cold.map((c) => c.lag_minutes)) : null;
  $('hero').className = `hero ${problems.length ? 'not_whole' : flowing ? 'whole' : 'cannot_tell'}`;
  const title = problems.length ? 'Something is wrong' : flowing ? 'Receiving data' : 'No data';
  put('verdict', title);
  document.title = `${title} \u00b7 MarketPrism`;
  put('summary', problems.length ? problems.join(' \u00b7 ') : flowing ? 'Messages are received, stored and acknowledged.' : 'This central stored no events in the last minute.');
  const tile = (value, text, kind) => el('div', { class: 'tile' }, el('b', { class: kind }, value), el('span', {}, text));
  put('tiles',
    tile(rate(flowing), 'events per second', flowing ? 'good' : 'soft'),
    tile(number(o.arriving.length), 'streams (venue and type)', ''),
    tile(number(o.arriving.filter((row) => row.status !== 'ok').length), 'stale streams', o.arriving.some((row) => row.status !== 'ok') ? 'bad' : 'soft'),
    tile(short(pending), 'messages pending', pending > 50000 ? 'gap' : 'soft'),
    tile(lag === null ? '\u2013' : `${lag} min`, 'replication lag', lag > 60 ? 'gap' : 'soft'));
  arriving(o);
  $('selftest-card').hidden = !o.selftest.length;
  const missing = (key) => (s) => (s[key] ? el('span', { class: s[key].missing ? 'gap' : 'good' }, `${number(s[key].missing)} of ${number(s[key].expected)}${s[key].silent ? `, ${number(s[key].silent)} while it did not run` : ''}`) : '\u2013');
  const delay = (key) => (s) => (s[key] ? quantiles([s[key].p50_us, s[key].p99_us]) : '\u2013');
  put('selftest', table([
    ['edge', (s) => s.edge],
    ['stream', (s) => s.symbol, 'mono'],
    ['missing, last hour', missing('hour'), 'num'],
    ['latency, last hour', delay('hour'), 'num'],
    ['missing, last day', missing('day'), 'num'],
    ['latency, last day', delay('day'), 'num'],
    ['latency can be trusted to', (s) => (s.clock ? `${length(s.clock.offset_us)} \u00b1 ${length(s.clock.error_us)} (${s.clock.exchange})` : 'clock not measured'), 'num'],
    ['newest', (s) => el('span', { class: s.age_seconds > 60 ? 'bad' : '' }, `${span(s.age_seconds)} ago`), 'num'],
  ], o.selftest, 'none'));
  put('broker', broker(o.broker));
  put('cold', table([
    ['table', (c) => c.table, 'mono'],
    ['replicated up to (UTC)', (c) => clock(c.copied_upto), 'mono'],
    ['lag', (c) => `${c.lag_minutes} min`, 'num'],
  ], o.cold, 'Nothing has been replicated to cold yet.'));
  put('leases', leases(o.leases, now));
  put('foot', `marketprism-central ${o.program_version}, ${clock(o.generated_at)} UTC`);
});
