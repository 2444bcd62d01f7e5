import { describe, expect, test } from 'vitest'
import { LIMITS } from '../../../schemas/limits.ts'
import { findPaceMs } from '../../../src/operations/rotationDue.ts'
import { createPipelineStack, type PipelineStack, toCode } from '../../fixtures/pipelineStack.ts'
import { live } from '../../fixtures/virtualTime.ts'

const DAY_MS = 24 * 3600 * 1000
const HOUR_MS = 3600 * 1000
const MANY_KEYS_MS = 120_000

const setPolicy = (stack: PipelineStack, key_id: string, rotation_interval_days: number) =>
  stack.succeed('SetKeyRotationPolicy', { key_id, enabled: true, rotation_interval_days })

const seal = async (stack: PipelineStack, key_id: string): Promise<Uint8Array> =>
  Uint8Array.from((await stack.succeed('Encrypt', { key_id, plaintext: Buffer.from('old') })).ciphertext_blob)

const unseal = async (stack: PipelineStack, blob: Uint8Array): Promise<string> =>
  Buffer.from((await stack.succeed('Decrypt', { ciphertext_blob: Uint8Array.from(blob) })).plaintext).toString()

const versionOf = async (stack: PipelineStack, key_id: string) =>
  (await stack.succeed('DescribeKey', { key_id })).key.current_key_version

/** Lets time jump by whole days; the duties have a moment after each. */
const passDays = async (stack: PipelineStack, days: number): Promise<void> => {
  for (let day = 0; day < days; day += 1) {
    await stack.time.jump(DAY_MS - LIMITS.dutyPollMs)
    await live(stack.time, LIMITS.dutyPollMs)
  }
}

const listObjects = async (stack: PipelineStack): Promise<readonly string[]> => {
  const inventory = await stack.hsm.inventory('main', new AbortController().signal)
  if (!inventory.ok) throw new Error(inventory.error.message)
  return inventory.value.map(({ lid, version }) => `${lid}/${version}`).sort()
}

describe('a key with a rotation policy', () => {
  test('gets a version each interval, for ten years; every ciphertext and signature of all of them is still good', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey()
    const signing = await stack.createKey({ key_spec: 'ED25519' })
    const from = stack.time.now()
    for (const id of [key_id, signing]) await setPolicy(stack, id, 90)
    stack.pipeline.duties.start()
    const blobs: Uint8Array[] = []
    const signatures: { readonly signature: Uint8Array; readonly version: number }[] = []
    while (stack.time.now() < from + 3600 * DAY_MS) {
      blobs.push(await seal(stack, key_id))
      const { signature, key_version } = await stack.succeed('Sign', { key_id: signing, message: Buffer.from('m') })
      signatures.push({ signature: Uint8Array.from(signature), version: key_version })
      await stack.time.jump(45 * DAY_MS)
      await live(stack.time, LIMITS.dutyPollMs)
    }
    await stack.pipeline.duties.stop()
    const { items } = await stack.succeed('ListKeyVersions', { key_id })
    expect(items.length).toBe(41)
    expect(items.slice(1).every(({ cause }) => cause === 'schedule')).toBe(true)
    const gaps = items
      .slice(1)
      .map(({ created_at }, at) => Date.parse(created_at) - Date.parse(items[at]?.created_at ?? ''))
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(90 * DAY_MS)
    expect(Math.max(...gaps)).toBeLessThan(90 * DAY_MS + HOUR_MS)
    for (const blob of blobs) expect(await unseal(stack, blob)).toBe('old')
    for (const { signature, version } of signatures) {
      const request = { key_id: signing, message: Buffer.from('m'), signature, key_version: version }
      expect((await stack.succeed('Verify', request)).signature_valid).toBe(true)
    }
    expect(new Set(signatures.map(({ version }) => version)).size).toBe(40)
  })

  test('catches up by one version, however many intervals were missed', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey()
    await setPolicy(stack, key_id, 30)
    await stack.time.jump(1000 * DAY_MS)
    const late = stack.time.now()
    stack.pipeline.duties.start()
    await live(stack.time, 60_000)
    await stack.pipeline.duties.stop()
    expect(await versionOf(stack, key_id)).toBe(2)
    const { next_rotation_date, last_rotated_at } = await stack.succeed('GetKeyRotationStatus', { key_id })
    expect(Date.parse(last_rotated_at ?? '')).toBeGreaterThanOrEqual(late)
    expect(Date.parse(next_rotation_date ?? '') - Date.parse(last_rotated_at ?? '')).toBe(30 * DAY_MS)
  })

  test('waits while it or an ancestor is locked, leaves no failure behind, and rotates when it is usable again', async () => {
    await using stack = await createPipelineStack()
    const root = await stack.createKey()
    const key_id = await stack.createKey({ parent_key_id: root })
    await setPolicy(stack, key_id, 1)
    await stack.succeed('DisableKey', { key_id: root })
    stack.pipeline.duties.start()
    await passDays(stack, 3)
    expect(await versionOf(stack, key_id)).toBe(1)
    expect(stack.ports.events.some(({ outcome }) => outcome === 'failed')).toBe(false)
    await stack.succeed('EnableKey', { key_id: root })
    await live(stack.time, 2 * LIMITS.dutyPollMs)
    expect(await versionOf(stack, key_id)).toBe(2)
    await stack.pipeline.duties.stop()
  })

  test('is left alone when the policy is switched off, and keeps its interval for when it is switched on', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey()
    await setPolicy(stack, key_id, 2)
    const { key } = await stack.succeed('DisableKeyRotation', { key_id })
    expect(key.rotation).toEqual({ enabled: false, interval_days: 2 })
    stack.pipeline.duties.start()
    await passDays(stack, 4)
    expect(await versionOf(stack, key_id)).toBe(1)
    expect(await stack.succeed('GetKeyRotationPolicy', { key_id })).toMatchObject({
      enabled: false,
      rotation_interval_days: 2,
    })
    await stack.succeed('EnableKeyRotation', { key_id })
    await live(stack.time, 2 * LIMITS.dutyPollMs)
    expect(await versionOf(stack, key_id)).toBe(2)
    await stack.pipeline.duties.stop()
  })

  test('has a year as interval if none was ever set', async () => {
    await using stack = await createPipelineStack()
    const { key } = await stack.succeed('EnableKeyRotation', { key_id: await stack.createKey() })
    expect(key.rotation.interval_days).toBe(365)
    expect(Date.parse(key.rotation.next_at ?? '') - Date.parse(key.created_at)).toBe(365 * DAY_MS)
  })

  test('shows its history: what made each version', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey()
    await stack.succeed('RotateKey', { key_id })
    await setPolicy(stack, key_id, 1)
    stack.pipeline.duties.start()
    await passDays(stack, 1)
    await live(stack.time, LIMITS.dutyPollMs)
    await stack.pipeline.duties.stop()
    const { entries } = await stack.succeed('GetKeyRotationHistory', { key_id })
    expect(entries.map(({ from_version, to_version, cause }) => [from_version, to_version, cause])).toEqual([
      [1, 2, 'request'],
      [2, 3, 'schedule'],
    ])
  })

  test('is rotated by the writer only', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey()
    await setPolicy(stack, key_id, 1)
    stack.ports.faults.role = 'follower'
    stack.pipeline.duties.start()
    await passDays(stack, 2)
    stack.ports.faults.role = undefined
    expect(await versionOf(stack, key_id)).toBe(1)
    await live(stack.time, 2 * LIMITS.dutyPollMs)
    expect(await versionOf(stack, key_id)).toBe(2)
    await stack.pipeline.duties.stop()
  })

  test('keeps trying while the HSM fails, without a version lost or doubled', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey()
    await setPolicy(stack, key_id, 1)
    stack.ports.faults.hsm = () => ({ code: 'HSM_UNAVAILABLE', message: 'away' })
    stack.pipeline.duties.start()
    await passDays(stack, 2)
    expect(await versionOf(stack, key_id)).toBe(1)
    stack.ports.faults.hsm = undefined
    await live(stack.time, LIMITS.dutyRetryMsMax + LIMITS.dutyPollMs)
    await stack.pipeline.duties.stop()
    expect(await versionOf(stack, key_id)).toBe(2)
    expect(await listObjects(stack)).toEqual([`${key_id}/1`, `${key_id}/2`])
  })

  test('undoes in the HSM what the ledger refused', async () => {
    await using stack = await createPipelineStack()
    const root = await stack.createKey()
    const key_id = await stack.createKey({ parent_key_id: root })
    stack.ports.faults.afterHsm = async () => {
      stack.ports.faults.afterHsm = undefined
      await stack.succeed('DisableKey', { key_id: root })
    }
    expect(toCode(await stack.send('RotateKey', { key_id }))).toBe('KEY_NOT_USABLE')
    expect(await listObjects(stack)).toEqual([`${key_id}/1`, `${root}/1`].sort())
  })
})

describe('many keys due at once', () => {
  test(
    'a thousand are spread over ten minutes and more, one after the other',
    async () => {
      await using stack = await createPipelineStack()
      const ids: string[] = []
      for (let n = 0; n < 1000; n += 1) ids.push(await stack.createKey())
      for (const id of ids) await setPolicy(stack, id, 30)
      await stack.time.jump(31 * DAY_MS)
      stack.pipeline.duties.start()
      await live(stack.time, 20 * 60_000)
      await stack.pipeline.duties.stop()
      const times = stack.ledger
        .view()
        .keys.byLid.valueSeq()
        .toArray()
        .flatMap(({ versions }) =>
          versions.filter(({ version }) => version === 2).map(({ createdAtMs }) => createdAtMs),
        )
        .sort((a, b) => a - b)
      expect(times.length).toBe(1000)
      expect((times.at(-1) ?? 0) - (times[0] ?? 0)).toBeGreaterThanOrEqual(600_000)
      expect(new Set(times).size).toBe(1000)
    },
    MANY_KEYS_MS,
  )

  test(
    'keys that cannot be rotated now do not hold up the others',
    async () => {
      await using stack = await createPipelineStack()
      const stuck: string[] = []
      for (let n = 0; n < LIMITS.dutyItemsMax + 20; n += 1) stuck.push(await stack.createKey())
      for (const id of stuck) await setPolicy(stack, id, 1)
      const free = await stack.createKey({ key_spec: 'ED25519' })
      await setPolicy(stack, free, 2)
      const isFree = (instruction: { kind: string; lid?: string }) => instruction.lid === free
      stack.ports.faults.hsm = (instruction) =>
        instruction.kind !== 'generateKey' || isFree(instruction)
          ? undefined
          : { code: 'HSM_UNAVAILABLE', message: 'away' }
      await stack.time.jump(3 * DAY_MS)
      stack.pipeline.duties.start()
      await live(stack.time, 10 * 60_000)
      await stack.pipeline.duties.stop()
      expect(await versionOf(stack, free)).toBe(2)
    },
    MANY_KEYS_MS,
  )

  /** How long the last of so many waits, if each takes `eachMs` in the HSM beside its pause. */
  const rotateAll = (count: number, lateMs = 0): number => {
    const start = 0
    let now = lateMs
    for (let left = count; left > 0; ) {
      const step = Math.min(left, LIMITS.dutyItemsMax)
      now += step * findPaceMs(left, start, now)
      left -= step
    }
    return now
  }

  test.each([1_000, 10_000, 66_000, 200_000, 1_000_000])('of %i, none waits longer than 24 hours', (count) => {
    const tookMs = rotateAll(count)
    expect(tookMs).toBeGreaterThanOrEqual(600_000)
    expect(tookMs).toBeLessThanOrEqual(24 * HOUR_MS)
  })

  test('a thousand that come due while the service is down are spread all the same', () => {
    for (const lateMs of [HOUR_MS, 12 * HOUR_MS, 30 * DAY_MS])
      expect(rotateAll(1_000, lateMs) - lateMs).toBeGreaterThanOrEqual(600_000)
  })
})
