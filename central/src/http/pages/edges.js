const clockText = (measured) => (measured
  ? el('span', { title: measured.source }, `${(measured.offset_us / 1000).toFixed(1)} \u00b1 ${(measured.error_us / 1000).toFixed(1)} ms`)
  : '\u2013');

function edgeTable(f, now) {
  return table([
    ['edge', (e) => e.edge, 'mono'],
    ['region', (e) => e.region || '\u2013'],
    ['state', (e) => marked(LIVES, e.state)],
    ['heartbeat', (e) => `${span(e.heartbeat_age_seconds)} ago`, 'num'],
    ['health', (e) => (e.status ? el('span', { class: (e.state === 'running' && STATUSES[e.status]) || 'soft', title: e.reasons.join('\n') || null }, e.state === 'running' ? e.status : `was ${e.status}`) : '\u2013')],
    ['version', (e) => e.program_version || '\u2013', 'mono'],
    ['host', (e) => e.host || '\u2013'],
    ['up', (e) => (e.started && e.state === 'running' ? span((now - Date.parse(e.started)) / 1000) : '\u2013'), 'num'],
    ['feeds', (e) => `${e.feeds.filter((feed) => feed.state === 'running').length}/${e.feeds.length}`, 'num'],
    ['streams', (e) => number(e.feeds.reduce((sum, feed) => sum + feed.streams, 0)), 'num'],
    ['journal', (e) => (e.journal ? bytes(e.journal.bytes) : 'off'), 'num'],
    ['waiting', (e) => (e.journal ? el('span', { class: e.journal.waiting ? 'gap' : 'soft', title: e.journal.problem || null }, number(e.journal.waiting)) : '\u2013'), 'num'],
    ['clock', (e) => clockText(e.clock), 'num'],
    ['disk free', (e) => (e.disk_free_bytes === undefined ? '\u2013' : bytes(e.disk_free_bytes)), 'num'],
  ], f.edges, 'No edge is known: start one, it writes its heartbeat to the broker.');
}

function feedTable(f, now) {
  const rows = f.edges.flatMap((edge) => edge.feeds.map((feed) => ({ edge: edge.edge, of: edge.state, ...feed })));
  return table([
    ['edge', (r) => r.edge, 'mono'],
    ['exchange', (r) => r.exchange, 'mono'],
    ['state', (r) => {
      if (r.of !== 'running') return el('span', { class: 'soft' }, `edge ${r.of}`);
      return el('span', { class: r.state === 'running' ? 'good' : 'gap' }, r.state === 'running' ? '\u2713 running' : `! ${r.state}`);
    }],
    ['instruments', (r) => number(r.instruments), 'num'],
    ['streams', (r) => number(r.streams), 'num'],
    ['newest event', (r) => ago(r.newest_event, now), 'num'],
    ['reason', (r) => r.reason || '\u2013', 'wide'],
  ], rows, 'No edge reports a feed.');
}

follow('/edges', 3, (f) => {
  const now = Date.parse(f.generated_at);
  const count = (state) => f.edges.filter((edge) => edge.state === state).length;
  const unwell = f.edges.filter((edge) => edge.state === 'running' && edge.status !== 'healthy').length;
  const names = (state) => f.edges.filter((edge) => edge.state === state).map((edge) => edge.edge).join(', ');
  const problems = [...f.unanswered.map((one) => `${one.part}: no answer (${one.reason})`), ...f.findings.map((one) => `${one.subject}: ${one.text}`)];
  const bad = f.unanswered.length || count('silent');
  $('hero').className = `hero ${bad ? 'not_whole' : f.edges.length && !problems.length ? 'whole' : 'cannot_tell'}`;
  const title = f.unanswered.length ? 'The broker does not answer' : count('silent') ? `Silent: ${names('silent')}`
    : !f.edges.length ? 'No edge' : problems.length ? 'An edge needs attention' : 'All edges are well';
  put('verdict', title);
  document.title = `${title} \u00b7 MarketPrism`;
  put('summary', problems.length ? problems.slice(0, 3).join(' \u00b7 ') : `${plural(count('running'), 'edge')} running.`);
  const tile = (value, text, kind) => el('div', { class: 'tile' }, el('b', { class: kind }, value), el('span', {}, text));
  put('tiles',
    tile(number(count('running')), 'running', count('running') ? 'good' : 'soft'),
    tile(number(count('silent')), 'silent', count('silent') ? 'bad' : 'soft'),
    tile(number(count('stopped')), 'stopped', count('stopped') ? 'idle' : 'soft'),
    tile(number(unwell), 'not healthy', unwell ? 'gap' : 'soft'),
    tile(short(f.edges.filter((edge) => edge.state === 'running').flatMap((edge) => edge.feeds).reduce((sum, feed) => sum + feed.streams, 0)), 'streams', ''));
  $('findings-card').hidden = !f.findings.length;
  put('findings', el('ul', { class: 'findings' }, f.findings.map((one) => el('li', {},
    el('span', { class: `level ${words[one.level][0]}` }, words[one.level][1]),
    el('div', {}, el('p', {}, el('b', {}, one.subject), ': ', one.text, ' ', el('code', { class: 'soft' }, one.code)), one.remedy ? el('p', { class: 'remedy' }, one.remedy) : null)))));
  put('edges-hint', `An edge is silent when its heartbeat, written every 3 s, has not come for ${f.silent_after_seconds} s.`);
  put('edges', edgeTable(f, now));
  put('adapters', adapterTable(f.edges));
  put('feeds', feedTable(f, now));
  const swaps = f.edges.flatMap((edge) => edge.swaps.map((swap) => ({ edge: edge.edge, ...swap })));
  put('swaps', table([
    ['started (UTC)', (s) => clock(s.started), 'mono'],
    ['edge', (s) => s.edge, 'mono'],
    ['adapter', (s) => s.adapter || shortened(s.digest), 'mono'],
    ['from', (s) => s.from || '\u2013', 'mono'],
    ['to', (s) => s.to || '\u2013', 'mono'],
    ['outcome', (s) => outcome(s.outcome)],
    ['step', (s) => s.step],
    ['why', (s) => s.source],
    ['cause', (s) => s.cause || '\u2013', 'wide'],
  ], swaps.sort((a, b) => (a.started < b.started ? 1 : -1)), 'No adapter was changed.'));
  put('foot', `marketprism-central ${f.program_version}, ${clock(f.generated_at)} UTC`);
});
