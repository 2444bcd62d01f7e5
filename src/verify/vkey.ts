import type { Pin } from '../core/chainState.ts'
import { parseVerifyKey } from '../core/ed25519.ts'
import { must, ok, type Result } from '../core/result.ts'
import { formatNoteKey, parseNoteKey } from '../core/signedNote.ts'

/** A pin as one line of text: the verifier key of a C2SP signed note with the origin as key name. */
export const formatVkey = (pin: Pin): string => {
  const key = parseVerifyKey(pin.rootPublicKey)
  must(key.ok, 'the root public key is not usable')
  return formatNoteKey({ name: pin.origin, type: 'ed25519', key: key.value })
}

/** Reads a pin; one trailing line end is allowed. Says in words what is wrong. */
export const parseVkey = (text: string): Result<Pin, string> => {
  const key = parseNoteKey(text.endsWith('\n') ? text.slice(0, -1) : text)
  if (!key.ok) return key
  if (key.value.type !== 'ed25519') return { ok: false, error: 'the vkey is of a witness, not of a ledger' }
  if (!ORIGIN_PATTERN.test(key.value.name)) return { ok: false, error: 'the name of the vkey is not an origin' }
  return ok({ origin: key.value.name, rootPublicKey: key.value.key.raw })
}

const ORIGIN_PATTERN = /^[a-z0-9-]{1,32}\/[0-9a-f]{16}$/
