import { createHash } from 'node:crypto'
import type { Pin } from '../core/chainState.ts'
import { parseVerifyKey } from '../core/ed25519.ts'
import { ok, type Result } from '../core/result.ts'

/**
 * A pin as one line of text, `<origin>+<key id>+<base64 of 01 ‖ public key>`: the verifier key of a C2SP signed note with
 * the origin as key name. The key id is the first 4 bytes of SHA-256(name ‖ 0A ‖ 01 ‖ public key), hex.
 */
export const formatVkey = (pin: Pin): string => {
  const typed = Buffer.concat([Buffer.of(TYPE_ED25519), pin.rootPublicKey])
  return `${pin.origin}+${toKeyId(pin.origin, typed)}+${typed.toString('base64')}`
}

/** Reads a pin; one trailing line end is allowed. Says in words what is wrong. */
export const parseVkey = (text: string): Result<Pin, string> => {
  const [, origin, keyId, encoded] = VKEY_PATTERN.exec(text) ?? []
  if (origin === undefined || encoded === undefined)
    return { ok: false, error: 'a vkey is <origin>+<8 hex digits>+<base64>' }
  const typed = Buffer.from(encoded, 'base64')
  if (typed.toString('base64') !== encoded || typed[0] !== TYPE_ED25519)
    return { ok: false, error: 'the vkey is not of an Ed25519 key' }
  if (toKeyId(origin, typed) !== keyId) return { ok: false, error: 'the key id of the vkey is not of its name and key' }
  const rootPublicKey = new Uint8Array(typed.subarray(1))
  const usable = parseVerifyKey(rootPublicKey)
  return usable.ok ? ok({ origin, rootPublicKey }) : usable
}

const TYPE_ED25519 = 1
const VKEY_PATTERN = /^([a-z0-9-]{1,32}\/[0-9a-f]{16})\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})\n?$/

const toKeyId = (name: string, typed: Uint8Array): string =>
  createHash('sha256').update(`${name}\n`).update(typed).digest('hex').slice(0, 8)
