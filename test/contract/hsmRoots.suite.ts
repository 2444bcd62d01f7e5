import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { expect, it } from 'vitest'
import { toCheckpointText } from '../../src/core/checkpoint.ts'
import { isSignedBy, parseVerifyKey, type VerifyKey } from '../../src/core/ed25519.ts'
import type { Hsm } from '../../src/core/ports.ts'
import { must } from '../../src/core/result.ts'
import { BACKEND, calm, codeOf, ORIGIN, unwrap } from '../fixtures/hsmRequests.ts'

const toKey = (raw: Uint8Array): VerifyKey => {
  const key = parseVerifyKey(raw)
  must(key.ok, 'a root is a key')
  return key.value
}
const randomPublicKey = (): Uint8Array =>
  generateKeyPairSync('ed25519').publicKey.export({ format: 'der', type: 'spki' }).subarray(-32)
const toMessage = () => Buffer.concat([Buffer.from('chatelaine/root/v1\0'), randomBytes(90)])

/** What every `Hsm` promises of root keys, on a token with one root; there is one root again afterwards. */
export const describeRoots = (get: () => Hsm): void => {
  it('makes a root beside the first one, the same until it is known, and another then', async () => {
    const hsm = get()
    const [first = new Uint8Array(0), ...others] = unwrap(await hsm.listRoots(BACKEND, calm))
    expect(others).toEqual([])
    const before = unwrap(await hsm.genesisState(BACKEND, calm)).others
    const second = unwrap(await hsm.createNextRoot(BACKEND, [first], calm))
    expect(Buffer.from(unwrap(await hsm.createNextRoot(BACKEND, [first], calm)))).toEqual(Buffer.from(second))
    const third = unwrap(await hsm.createNextRoot(BACKEND, [first, second], calm))
    const hex = (roots: readonly Uint8Array[]) => roots.map((root) => Buffer.from(root).toString('hex')).sort()
    expect(new Set(hex([first, second, third])).size).toBe(3)
    expect(hex(unwrap(await hsm.listRoots(BACKEND, calm)))).toEqual(hex([first, second, third]))
    // A ledger with two roots was rotated: whatever the stream says, this token is no place for a new one.
    expect(unwrap(await hsm.genesisState(BACKEND, calm)).others).toBe(before + 2)

    const checkpoint = { origin: ORIGIN, size: 3, root: randomBytes(32) }
    for (const root of [first, second, third]) {
      const message = toMessage()
      const signature = unwrap(await hsm.signAsRoot(BACKEND, { root, message }, calm))
      expect(isSignedBy(toKey(root), message, signature)).toBe(true)
      const signed = unwrap(await hsm.signCheckpoint(BACKEND, { root, checkpoint }, calm))
      expect(isSignedBy(toKey(root), Buffer.from(toCheckpointText(checkpoint)), signed)).toBe(true)
    }
    expect(unwrap(await hsm.inventory(BACKEND, calm)).filter(({ label }) => label.includes('root'))).toEqual([])

    expect(unwrap(await hsm.destroyRoot(BACKEND, second, calm))).toBe(true)
    expect(unwrap(await hsm.destroyRoot(BACKEND, second, calm))).toBe(false)
    expect(codeOf(await hsm.signAsRoot(BACKEND, { root: second, message: toMessage() }, calm))).toBe('HSM_UNAVAILABLE')
    expect(hex(unwrap(await hsm.listRoots(BACKEND, calm)))).toEqual(hex([first, third]))
    expect(unwrap(await hsm.destroyRoot(BACKEND, third, calm))).toBe(true)
    expect(codeOf(await hsm.signAsRoot(BACKEND, { root: first, message: toMessage() }, calm))).toBe('OK')
  })

  it('signs by no root that the token does not hold', async () => {
    const hsm = get()
    const stranger = randomPublicKey()
    for (const root of [stranger, new Uint8Array(3)])
      expect(codeOf(await hsm.signAsRoot(BACKEND, { root, message: toMessage() }, calm))).toBe('HSM_UNAVAILABLE')
  })
}
