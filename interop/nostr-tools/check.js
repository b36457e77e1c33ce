// `node check.js URL FILE DOMAIN`: nostr-tools as a client of the relay at URL, which holds the events of FILE (JSON
// lines) and serves the git repositories that list DOMAIN. Exits with 1 where anything isn't as expected.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'

import { matchFilter } from 'nostr-tools/filter'
import { fetchRelayInformation } from 'nostr-tools/nip11'
import { npubEncode } from 'nostr-tools/nip19'
import { nip77 } from 'nostr-tools'
import { SimplePool, useWebSocketImplementation as usedByPool } from 'nostr-tools/pool'
import { finalizeEvent, generateSecretKey, getPublicKey } from 'nostr-tools/pure'
import { Relay, useWebSocketImplementation as usedByRelay } from 'nostr-tools/relay'
import WebSocket from 'ws'

const PATIENCE_MS = 60_000
const REACTION = 7
const ANNOUNCEMENT = 30617
const ISSUE = 1621
const GRASP_LIST = 10317

usedByPool(WebSocket)
usedByRelay(WebSocket)

const [url, file, domain] = process.argv.slice(2)
const held = readFileSync(file, 'utf8').split('\n').filter(Boolean).map(line => JSON.parse(line))
const key = generateSecretKey()
const author = getPublicKey(key)
const now = () => Math.floor(Date.now() / 1000)
const sign = (kind, tags, created_at = now()) => finalizeEvent({ kind, tags, content: '', created_at }, key)
const say = (count, words) => console.log(`${String(count).padStart(8)}  ${words}`)

const announcement = (name, host) =>
  sign(ANNOUNCEMENT, [
    ['d', name],
    ['clone', `https://${host}/${npubEncode(author)}/${name}.git`],
    ['relays', `wss://${host}`],
  ])
const issueOf = name => sign(ISSUE, [['a', `${ANNOUNCEMENT}:${author}:${name}`], ['subject', name]])

/** What the events of `held` that match are, as a relay would serve them. */
function expected(filter) {
  const newestFirst = (a, b) => b.created_at - a.created_at || (a.id < b.id ? -1 : 1)
  return held.filter(event => matchFilter(filter, event)).sort(newestFirst).slice(0, filter.limit)
}

/** Its own patience, some seconds, may end before it has checked a thousand signatures. */
const query = (pool, filter) => pool.querySync([url], filter, { maxWait: PATIENCE_MS })

/** Whether two sets of ids or events are the same; says a few of those that differ. */
function same(got, wanted, what) {
  const [a, b] = [got, wanted].map(all => new Set(all.map(one => one.id ?? one)))
  const missing = [...b].filter(id => !a.has(id))
  const more = [...a].filter(id => !b.has(id))
  const some = [...missing, ...more].slice(0, 5)
  assert.ok(some.length === 0, `${what}: ${missing.length} missing, ${more.length} too many: ${some}`)
}

async function queries(pool) {
  const some = held[Math.floor(held.length / 2)]
  const issue = held.find(event => event.kind === ISSUE)
  const [, address] = issue.tags.find(tag => tag[0] === 'a')
  const filters = {
    'everything': {},
    'by kind': { kinds: [ISSUE, ANNOUNCEMENT] },
    'by author': { authors: [some.pubkey] },
    'by id': { ids: held.slice(0, 20).map(event => event.id) },
    'by #a': { '#a': [address] },
    'by #e': { '#e': [issue.id] },
    'by time': { since: some.created_at - 86_400, until: some.created_at },
    'the newest 10': { limit: 10 },
    'the newest 5 reactions': { kinds: [REACTION], limit: 5 },
    'nothing': { ids: ['0'.repeat(64)] },
  }
  for (const [name, filter] of Object.entries(filters)) {
    const got = await query(pool, filter)
    same(got, expected(filter), `query: ${name}`)
    say(got.length, `queried ${name}`)
  }
}

async function counts(relay) {
  for (const filter of [{}, { kinds: [ISSUE] }]) {
    const count = await relay.count([filter], {})
    assert.equal(count, expected(filter).length, 'COUNT')
    say(count, `counted (NIP-45) ${JSON.stringify(filter)}`)
  }
}

/** Reconciles a client that lacks every third event, and has one that the relay lacks. */
async function reconciles(relay) {
  const storage = new nip77.NegentropyStorageVector()
  const lacking = held.filter((_, place) => place % 3 === 0)
  const own = issueOf('nowhere')
  held.filter((_, place) => place % 3 !== 0).concat(own).forEach(event => storage.insert(event.created_at, event.id))
  storage.seal()
  const [have, need] = [[], []]
  await new Promise((resolve, reject) => {
    const onclose = error => (error ? reject(new Error(error)) : resolve())
    const params = { onhave: id => have.push(id), onneed: id => need.push(id), onclose }
    void new nip77.NegentropySync(relay, storage, {}, params).start()
  })
  same(need, lacking, 'NIP-77: what the client lacks')
  assert.deepEqual(have, [own.id], 'NIP-77: what the relay lacks')
  say(need.length, 'found by reconciling (NIP-77), with 1 that the relay lacks')
}

async function publishes(relay, reader) {
  // Told of what is published from here on, on a connection of its own.
  const live = []
  let arrived = () => {}
  await new Promise(resolve => {
    const onevent = event => {
      live.push(event)
      arrived()
    }
    reader.subscribe([{ authors: [author] }], { onevent, oneose: resolve })
  })
  const taken = [announcement('here', domain), issueOf('here')]
  for (const event of taken) {
    assert.equal(await relay.publish(event), '', `kind ${event.kind} is taken`)
  }
  assert.match(await relay.publish(taken[1]), /^duplicate: /)
  say(taken.length, 'published, and taken')

  // Either could still come to belong to a repository of this service.
  for (const event of [announcement('elsewhere', 'git.elsewhere.example'), issueOf('nowhere')]) {
    assert.match(await relay.publish(event), /^purgatory: /)
    say(1, `kept aside, kind ${event.kind}`)
  }

  const old = now() - 100
  const ofHere = [['a', `${ANNOUNCEMENT}:${author}:here`]]
  const refused = [
    [sign(GRASP_LIST, [['g', 'wss://git.elsewhere.example']]), /^blocked: the list does not name this service$/],
    [sign(ISSUE, [...ofHere, ['expiration', String(old)]], old - 1), /^invalid: the event has expired$/],
    [sign(20_001, []), /^blocked: ephemeral events are neither stored nor relayed here$/],
    [sign(ISSUE, ofHere, now() + 86_400), /^invalid: created_at is more than \d+ s in the future$/],
    [{ ...sign(ISSUE, ofHere, old), content: 'changed' }, /^invalid: the id is not the hash of the event$/],
  ]
  for (const [event, wanted] of refused) {
    const taken = () => assert.fail(`kind ${event.kind} is taken`)
    const words = await relay.publish(event).then(taken, error => error.message)
    assert.match(words, wanted)
    say(1, `refused (${words})`)
  }

  while (live.length < taken.length) {
    await new Promise(resolve => (arrived = resolve))
  }
  same(live, taken, 'live')
  say(live.length, 'arrived live, on another connection')
}

const overdue = setTimeout(() => {
  console.error(`not done within ${PATIENCE_MS} ms`)
  process.exit(1)
}, PATIENCE_MS)

const info = await fetchRelayInformation(url)
assert.ok([1, 11, 45, 77].every(nip => info.supported_nips.includes(nip)), `NIP-11: ${JSON.stringify(info)}`)
const pool = new SimplePool()
await queries(pool)
const [relay, reader] = [await Relay.connect(url), await Relay.connect(url)]
relay.publishTimeout = PATIENCE_MS
await counts(relay)
await reconciles(relay)
await publishes(relay, reader)
const stored = await query(pool, { authors: [author] })
assert.deepEqual(stored.map(event => event.kind).sort(), [ISSUE, ANNOUNCEMENT].sort(), 'served afterwards')
pool.destroy()
relay.close()
reader.close()
clearTimeout(overdue)
