// Keeps the status page true while it is open: the daemon pushes what changed (`events`), and only that is drawn anew.
//
// Every text may be a stranger's. Texts reach the page by `textContent` alone, which makes no elements of them; the
// page's policy (Content-Security-Policy, Trusted Types) forbids the rest. The cells say the same as those of `rows.rs`.
'use strict';

(() => {
  const MAX_WORDS = 300;
  const TRY_AGAIN_MS = 5000;
  const byId = (id) => document.getElementById(id);

  /** The moment of what is shown, unix seconds; none before the first event. */
  let at = null;
  /** The relays' rows by address. */
  let rows = new Map();

  // --- Words

  const grouped = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, ',');
  const moment = (seconds) => {
    const date = new Date(seconds * 1000);
    return Number.isNaN(date.getTime()) ? String(seconds) : date.toISOString().slice(0, 19).replace('T', ' ');
  };
  const fit = (text) => {
    const characters = Array.from(text);
    return characters.length <= MAX_WORDS ? text : characters.slice(0, MAX_WORDS - 1).join('') + '…';
  };
  const counted = (number, one, many) => `${grouped(number)} ${number === 1 ? one : many}`;
  const items = (from) => `${counted(from.repos, 'repository', 'repositories')}, ${counted(from.root_events, 'root event', 'root events')}`;
  const windows = (drained, open) => `${counted(drained, 'window', 'windows')} drained, ${grouped(open)} open`;

  const TONES = {
    Connected: 'good', Syncing: 'busy', Connecting: 'busy', ConnectedDegraded: 'warn', Disconnected: 'off',
    Healthy: 'good', Degraded: 'warn', Dead: 'bad', RateLimited: 'warn',
    loaded: 'good', failed: 'bad', barred: 'bad',
  };
  const tone = (word) => (Object.hasOwn(TONES, word) ? TONES[word] : 'off');

  // --- Rows: a list of texts, or of texts with a tone, one for each cell

  const relayCells = (relay) => {
    const sum = (of) => relay.coverage.reduce((sum, filter) => sum + filter[of].length, 0);
    const coverage = relay.coverage.length ? `; ${windows(sum('drained'), sum('open'))}` : '';
    const error = relay.last_error && relay.last_error !== relay.reason ? `last error: ${relay.last_error}` : '';
    return [
      relay.url,
      [relay.status, tone(relay.status)],
      [relay.health, tone(relay.health)],
      relay.strategy.replaceAll(',', ', '),
      items(relay) + coverage,
      grouped(relay.events_stored),
      relay.last_connected === null ? 'never' : moment(relay.last_connected),
      [relay.reason, error].filter((words) => words !== '').map(fit).join('; '),
    ];
  };
  const batchCells = (batch) => [
    batch.relay,
    batch.reason.replaceAll('_', ' ') + (batch.tries ? `, try ${batch.tries + 1}` : ''),
    batch.layer,
    batch.strategy,
    `${grouped(batch.filters_drained)} of ${counted(batch.filters, 'filter', 'filters')}; `
      + `${windows(batch.windows_drained, batch.windows_open)}; ${counted(batch.sessions, 'session', 'sessions')} ended`,
    items(batch),
    moment(batch.since),
  ];
  const incidentCells = (incident) => [
    incident.relay,
    moment(incident.at),
    incident.kind.replaceAll('_', ' ') + (incident.subject ? `: ${incident.subject}` : ''),
    fit(incident.reason),
    grouped(incident.count),
  ];
  const pluginCells = (plugin) => [
    plugin.name ?? 'unnamed',
    plugin.version ?? '',
    [plugin.state, tone(plugin.state)],
    plugin.file,
    fit(plugin.reason),
  ];

  const fill = (row, cells) => {
    cells.forEach((cell, at) => {
      const [text, itsTone] = Array.isArray(cell) ? cell : [cell, ''];
      const span = row.cells[at].querySelector('span');
      if (span.textContent !== text) span.textContent = text;
      if (itsTone) span.dataset.tone = itsTone;
    });
    return row;
  };
  const newRow = (table, cells) => fill(byId(`${table}-row`).content.firstElementChild.cloneNode(true), cells);

  /** Draws a short table anew. */
  const drawTable = (table, list, cells, finish = () => {}) => {
    const drawn = list.map((entry) => {
      const row = newRow(table, cells(entry));
      finish(row, entry);
      return row;
    });
    byId(`${table}-rows`).replaceChildren(...drawn);
    showTable(table, list.length > 0);
  };
  const showTable = (table, filled) => {
    byId(`${table}-table`).hidden = !filled;
    byId(`${table}-none`).hidden = filled;
  };

  // --- Parts of the page

  /** The words that a relay's row must have, all of them, to be shown. */
  let wanted = [];
  const siftRow = (row) => {
    if (wanted.length === 0) {
      row.hidden = false;
      return;
    }
    const text = Array.from(row.cells, (cell) => cell.textContent).join('\n').toLowerCase();
    row.hidden = !wanted.every((word) => text.includes(word));
  };
  const tellSifted = () => {
    byId('sift').hidden = rows.size === 0;
    const shown = () => grouped(Array.from(rows.values()).filter((row) => !row.hidden).length);
    byId('sift-words').textContent = wanted.length > 0 ? `${shown()} of ${grouped(rows.size)}` : '';
  };
  const siftRows = () => {
    wanted = byId('sift-field').value.toLowerCase().split(/\s+/).filter((word) => word !== '');
    rows.forEach(siftRow);
    tellSifted();
  };

  const drawRelay = (relay) => {
    const known = rows.get(relay.url);
    if (known) {
      siftRow(fill(known, relayCells(relay)));
      tellSifted();
      return;
    }
    const row = newRow('relays', relayCells(relay));
    rows.set(relay.url, row);
    const body = byId('relays-rows');
    const next = Array.from(body.rows).find((other) => other.cells[0].textContent > relay.url);
    body.insertBefore(row, next ?? null);
    siftRow(row);
    showTable('relays', true);
    tellSifted();
  };
  const removeRelay = (url) => {
    rows.get(url)?.remove();
    rows.delete(url);
    showTable('relays', rows.size > 0);
    tellSifted();
  };
  const drawRelays = (relays) => {
    const drawn = relays.map((relay) => [relay.url, newRow('relays', relayCells(relay))]);
    rows = new Map(drawn);
    siftRows();
    byId('relays-rows').replaceChildren(...rows.values());
    showTable('relays', rows.size > 0);
  };

  const drawOwn = (own) => {
    const place = byId('own');
    place.hidden = !own;
    if (!own) return;
    const held = own.embedded ? '' : `, ${counted(own.held, 'event waits', 'events wait')} for it`;
    const reason = own.reason ? `; ${fit(own.reason)}` : '';
    place.textContent = `Own relay ${own.url} (${own.embedded ? 'embedded' : 'external'}): ${own.up ? 'up' : 'down'}${held}${reason}`;
    place.classList.toggle('alert', !own.up);
  };

  const drawRate = (seconds) => {
    const highest = Math.max(0, ...seconds);
    const start = 120 - seconds.length;
    const points = seconds.map((count, at) => {
      const [from, y] = [start + at, highest ? (30 - (28 * count) / highest).toFixed(1) : '30.0'];
      return `${from},${y} ${from + 1},${y}`;
    });
    byId('rate-line').setAttribute('points', points.join(' '));
    byId('rate-words').textContent =
      `${grouped(seconds.at(-1) ?? 0)} in the last second, ${grouped(highest)} at most in one of the last two minutes`;
  };

  const PARTS = {
    at: (seconds) => { at = seconds; },
    version: (version) => { byId('version').textContent = version; },
    trouble: (trouble) => {
      byId('trouble').textContent = trouble;
      byId('trouble').hidden = trouble === '';
    },
    totals: (totals) => {
      for (const [name, count] of Object.entries(totals)) {
        const place = byId(`total-${name}`);
        if (place) place.textContent = grouped(count);
      }
    },
    own_relay: drawOwn,
    events_per_second: drawRate,
    batches: (batches) => drawTable('batches', batches, batchCells, (row, batch) => {
      const bar = row.querySelector('progress');
      bar.max = Math.max(1, batch.filters);
      bar.value = batch.filters_drained;
    }),
    incidents: (incidents) => drawTable('incidents', incidents, incidentCells),
    plugins: (plugins) => {
      drawTable('plugins', plugins, pluginCells);
      byId('plugins').hidden = plugins.length === 0;
    },
  };
  const drawParts = (parts) => {
    for (const [name, part] of Object.entries(parts)) {
      if (Object.hasOwn(PARTS, name)) PARTS[name](part);
    }
  };

  // --- The stream

  const say = (words, itsTone) => {
    const live = byId('live');
    live.textContent = words;
    live.dataset.tone = itsTone;
  };

  const connect = () => {
    const source = new EventSource('events');
    const on = (name, act) => source.addEventListener(name, (event) => act(JSON.parse(event.data)));
    on('status', (report) => {
      drawRelays(report.relays);
      drawParts(report);
      say('live', 'good');
    });
    on('relay', drawRelay);
    on('gone', (gone) => removeRelay(gone.url));
    on('changed', drawParts);
    source.addEventListener('error', () => {
      say(`no connection; shown is ${at ? `${moment(at)} UTC` : 'the page as it was loaded'}`, 'warn');
      // What the browser gives up by itself: an answer that is no stream, such as one that says that all are taken.
      if (source.readyState === EventSource.CLOSED) setTimeout(connect, TRY_AGAIN_MS);
    });
  };
  // The rows as they were sent can be sifted, too, where there is no stream.
  rows = new Map(Array.from(byId('relays-rows').rows, (row) => [row.cells[0].textContent, row]));
  byId('sift-field').addEventListener('input', siftRows);
  siftRows();
  connect();
})();
