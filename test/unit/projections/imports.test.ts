import { describe, expect, test } from 'vitest'
import { checkGuard } from '../../../projections/guards.ts'
import type { Event, EventData } from '../../../schemas/events.ts'
import { eventOf, fold, keyCreated, lidOf } from '../../fixtures/history.ts'

const issued = (n: number): Event =>
  eventOf('ImportParametersIssued', {
    lid: lidOf(n),
    spec: 'AES_256',
    algorithm: 'RSA_OAEP_SHA1',
    material: { backend: 'main', sealed_handle: Buffer.from([n]), public_key: Buffer.from([n]) },
    token_hash: Buffer.alloc(32, n),
    expires_at: 60_000,
  })
const imported = (n: number, under: number, more: Partial<EventData<'KeyImported'>> = {}): Event => {
  const { data } = keyCreated(n)
  return eventOf('KeyImported', { ...(data as EventData<'KeyCreated'>), import: lidOf(under), ...more })
}
const expired = (n: number) => eventOf('ImportParametersExpired', { lid: lidOf(n) })
const ended = (n: number) => eventOf('ImportWrappingKeyDestroyed', { lid: lidOf(n), confirmed: true })
const exported = (n: number) =>
  eventOf('KeyExported', {
    lid: lidOf(n),
    version: 1,
    algorithm: 'RSA_OAEP_SHA1',
    wrapping_key_sha256: Buffer.alloc(32),
  })
const exportability = (n: number, exportable: boolean) => eventOf('KeyExportabilitySet', { lid: lidOf(n), exportable })

describe('a wrapping key', () => {
  test('belongs to whoever asked for it, and is forgotten once it is destroyed', () => {
    const open = fold([issued(1)])
    const principal = { id: issued(1).principal.id, type: issued(1).principal.type }
    expect(open.imports.byLid.get(lidOf(1))).toMatchObject({ state: 'open', principal, expiresAtMs: 60_000 })
    expect(fold([imported(2, 1)], open).imports.byLid.get(lidOf(1))?.state).toBe('used')
    expect(fold([imported(2, 1), ended(1)], open).imports.byLid.size).toBe(0)
    expect(fold([expired(1), ended(1)], open).imports.byLid.size).toBe(0)
  })

  test('is guarded as open only until it is used, over or gone', () => {
    const failureAfter = (...history: readonly Event[]) =>
      checkGuard(fold(history), { kind: 'import', lid: lidOf(1) })?.code
    expect(failureAfter(issued(1))).toBeUndefined()
    for (const closing of [[imported(2, 1)], [expired(1)], [expired(1), ended(1)]])
      expect(failureAfter(issued(1), ...closing)).toBe('INVALID_REQUEST')
    expect(failureAfter()).toBe('INVALID_REQUEST')
  })

  test.each<[string, readonly Event[]]>([
    ['is made twice', [issued(1), issued(1)]],
    ['takes in two keys', [issued(1), imported(2, 1), imported(3, 1)]],
    ['takes in a key when its time is over', [issued(1), expired(1), imported(2, 1)]],
    ['takes in a key that it was never made for', [imported(2, 1)]],
    ['is over after it was used', [issued(1), imported(2, 1), expired(1)]],
    ['is destroyed while it is open', [issued(1), ended(1)]],
  ])('that %s contradicts history', (_what, history) => {
    expect(() => fold(history)).toThrow(/wrapping key/)
  })
})

describe('a key', () => {
  test('that was imported is external, and only its first version is the caller’s', () => {
    const material = { backend: 'main', sealed_handle: Buffer.from([9]) }
    const rotated = eventOf('KeyRotated', { lid: lidOf(2), version: 2, cause: 'request', material })
    const record = fold([issued(1), imported(2, 1), rotated]).keys.byLid.get(lidOf(2))
    expect(record?.origin).toBe('EXTERNAL')
    expect(record?.versions.map((version) => version.imported)).toEqual([true, undefined])
  })

  test('remembers its first export for ever', () => {
    const view = fold([keyCreated(1, { exportable: true }), exported(1), exported(1), exportability(1, false)])
    expect(view.keys.byLid.get(lidOf(1))).toMatchObject({ firstExportedAtMs: 2000, exportable: false })
  })

  test('made while exportability was revoked has versions that stay inside, also when it is given back', () => {
    const rotated = (version: number) =>
      eventOf('KeyRotated', {
        lid: lidOf(1),
        version,
        cause: 'request',
        material: { backend: 'main', sealed_handle: Buffer.from([version]) },
      })
    const history = [keyCreated(1, { exportable: true }), exportability(1, false), rotated(2)]
    const record = fold([...history, exportability(1, true), rotated(3)]).keys.byLid.get(lidOf(1))
    expect(record?.versions.map(({ extractable }) => extractable)).toEqual([true, false, true])
  })

  test('that was not made exportable and becomes so contradicts history', () => {
    expect(() => fold([keyCreated(1), exportability(1, true)])).toThrow(/not created exportable/)
  })
})
