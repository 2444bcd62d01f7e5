import { beforeAll, expect, test } from 'vitest'
import { countAffected, walkTree } from '../../../projections/hierarchy.ts'
import type { KeysState } from '../../../projections/keys.ts'
import { LIMITS } from '../../../schemas/limits.ts'
import type { Lid } from '../../../src/core/instruction.ts'
import { keyCreated } from '../../fixtures/history.ts'
import { entryOf, never, unwrap } from '../../fixtures/ledgerEntries.ts'
import { createPipelineStack, type PipelineStack, toCode } from '../../fixtures/pipelineStack.ts'

const DESCENDANTS = 10_000
const BRANCHES = 100
const LEAVES_PER_BRANCH = 98
const DIRECT = DESCENDANTS - 1 - BRANCHES * (1 + LEAVES_PER_BRANCH)

const lidAt = (n: number): Lid => `lid_${n.toString(16).padStart(64, '0')}` as Lid

/** Key 0 has a key 1 in the middle, with branches and leaves below it, and some children beside it. */
const parentOf = (n: number): number => {
  if (n === 1 || n > DESCENDANTS - DIRECT) return 0
  return n <= 1 + BRANCHES ? 1 : 2 + ((n - 2 - BRANCHES) % BRANCHES)
}
const ROOT = lidAt(0)
const MIDDLE = lidAt(1)
const LEAF = lidAt(DESCENDANTS - DIRECT)

let stack: PipelineStack
beforeAll(async () => {
  stack = await createPipelineStack()
  const events = Array.from({ length: DESCENDANTS + 1 }, (_, n) =>
    keyCreated(0, n === 0 ? { lid: ROOT } : { lid: lidAt(n), parent: lidAt(parentOf(n)) }),
  )
  for (let at = 0; at < events.length; at += LIMITS.commitEventsMax)
    unwrap(await stack.ledger.append(entryOf(events.slice(at, at + LIMITS.commitEventsMax)), never))
  return () => stack[Symbol.asyncDispose]()
})

const effectiveOf = async (key_id: string) => (await stack.succeed('DescribeKey', { key_id })).key.effective_state

/** What one change costs: its events, its calls of the HSM, the bytes it adds to the ledger. */
const costOf = async (change: () => Promise<{ readonly affected_descendants: number }>) => {
  const { messages } = stack.ledger.stream
  const [events, calls, commits] = [stack.ports.events.length, stack.hsm.calls.length, messages.length]
  const { affected_descendants } = await change()
  return {
    affected: affected_descendants,
    events: stack.ports.events.slice(events).map(({ type }) => type),
    hsmCalls: stack.hsm.calls.length - calls,
    bytes: messages.slice(commits).reduce((sum, { payload }) => sum + payload.length, 0),
  }
}

const ONE_EVENT_BYTES_MAX = 1024

test('a root with 10,000 descendants is disabled, enabled and scheduled for deletion by one small event each', async () => {
  const enable = () => stack.succeed('EnableKey', { key_id: ROOT })
  const changes = [
    ['KeyDisabled', () => stack.succeed('DisableKey', { key_id: ROOT })],
    ['KeyEnabled', enable],
    [
      'KeyDeletionScheduled',
      () => stack.succeed('ScheduleKeyDeletion', { key_id: ROOT, grace_period_days: 7, cascade: true }),
    ],
  ] as const
  for (const [type, change] of changes) {
    const { affected, events, hsmCalls, bytes } = await costOf(change)
    expect({ affected, events, hsmCalls }).toEqual({ affected: DESCENDANTS, events: [type], hsmCalls: 0 })
    expect(bytes).toBeLessThan(ONE_EVENT_BYTES_MAX)
  }
  expect(await effectiveOf(LEAF)).toBe('pending_deletion')
  await stack.succeed('CancelKeyDeletion', { key_id: ROOT })
  await enable()
  expect(await effectiveOf(LEAF)).toBe('enabled')
})

test('a disabled key in the middle hides nobody from its root, and stays disabled when the root comes back', async () => {
  const below = DESCENDANTS - DIRECT - 1
  expect((await costOf(() => stack.succeed('DisableKey', { key_id: MIDDLE }))).affected).toBe(below)
  const { affected, events } = await costOf(() => stack.succeed('DisableKey', { key_id: ROOT }))
  // Those below the middle were locked already.
  expect([affected, events]).toEqual([DIRECT, ['KeyDisabled']])
  const encrypt = { key_id: LEAF, plaintext: Buffer.from('x') }
  expect(toCode(await stack.send('Encrypt', encrypt))).toBe('KEY_NOT_USABLE')
  expect(toCode(await stack.send('EnableKey', { key_id: MIDDLE }))).toBe('PARENT_NOT_USABLE')
  await stack.succeed('EnableKey', { key_id: ROOT })
  expect([await effectiveOf(LEAF), await effectiveOf(lidAt(DESCENDANTS))]).toEqual(['disabled', 'enabled'])
  await stack.succeed('EnableKey', { key_id: MIDDLE })
  expect(await effectiveOf(LEAF)).toBe('enabled')
})

test('all 10,000 are listed page by page, each once, and each is asked about once', async () => {
  const asked = stack.pdp.asked.length
  const seen: string[] = []
  let cursor: string | undefined
  let pages = 0
  do {
    const page = await stack.succeed('GetKeyDependents', {
      key_id: ROOT,
      recursive: true,
      max_results: LIMITS.pageItemsMax,
      ...(cursor === undefined ? {} : { cursor }),
    })
    seen.push(...page.items.map(({ id }) => id))
    cursor = page.next_cursor
    pages += 1
  } while (cursor !== undefined)
  expect([seen.length, new Set(seen).size]).toEqual([DESCENDANTS, DESCENDANTS])
  const questions = stack.pdp.asked.slice(asked).filter(({ action }) => action === 'kms:DescribeKey')
  expect(questions.length).toBeLessThanOrEqual(DESCENDANTS + pages)
})

/** The view, and how many key records were looked up in it. */
const countLookups = () => {
  const { keys, hierarchy } = stack.ledger.view()
  let lookups = 0
  const byLid = new Proxy(keys.byLid, {
    get(target, name) {
      if (name === 'get') lookups += 1
      const member: unknown = Reflect.get(target, name, target)
      return typeof member === 'function' ? member.bind(target) : member
    },
  })
  return { view: { hierarchy, keys: { ...keys, byLid } satisfies KeysState }, count: () => lookups }
}

test('a page costs what is on it, wherever in the list it begins', () => {
  const PAGE = 10
  const costs = [2, DESCENDANTS / 2, DESCENDANTS - DIRECT, DESCENDANTS - PAGE].map((n) => {
    const { view, count } = countLookups()
    const from = stack.ledger.view().keys.byLid.get(lidAt(n))
    const walk = walkTree(view, ROOT, { recursive: true, ...(from === undefined ? {} : { from }) })
    for (let item = 0; item < PAGE; item += 1) expect(walk?.next().done).toBe(false)
    return count()
  })
  // A binary search at each of three levels, and the page itself.
  for (const cost of costs) expect(cost).toBeLessThan(PAGE + 3 * 16)
})

test('what a change affects is counted by looking at no key twice', () => {
  const { view, count } = countLookups()
  const root = view.keys.byLid.get(ROOT)
  expect(root && countAffected(view, root, 'disabled')).toBe(DESCENDANTS)
  expect(count()).toBeLessThanOrEqual(DESCENDANTS + 2)
})
