import { randomBytes } from 'node:crypto'
import pkcs11, { type Handle } from 'pkcs11js'
import { type Checkpoint, toCheckpointText } from '../core/checkpoint.ts'
import { isSignedBy, parseVerifyKey, type VerifyKey } from '../core/ed25519.ts'
import { isLedgerMessage } from '../core/ledgerEvents.ts'
import { must } from '../core/result.ts'
import { asBuffer } from './gcm.ts'
import { findByLabel } from './hostKeys.ts'
import type { HostReply, OpenHost } from './hostRequest.ts'
import { signWith } from './hostSigning.ts'
import { toLedgerRootLabel } from './material.ts'
import { findMechanism } from './mechanisms.ts'
import { refuse } from './pkcs11Failure.ts'
import { isGenerated } from './tokenObjects.ts'

/** Signs what begins with a label of the ledger, and nothing else: a checkpoint's text cannot. */
export const signAsRoot = async (
  host: OpenHost,
  { root, message }: { readonly root: Uint8Array; readonly message: Uint8Array },
): Promise<HostReply<Uint8Array>> =>
  isLedgerMessage(message)
    ? signByRoot(host, root, message)
    : refuse('INVALID_REQUEST', 'ledger-root signs only what begins with a label of the ledger')

/** Signs the text of a checkpoint of this host's ledger. The text is made here, so it is nothing else. */
export const signCheckpoint = async (
  host: OpenHost,
  { root, checkpoint }: { readonly root: Uint8Array; readonly checkpoint: Checkpoint },
): Promise<HostReply<Uint8Array>> =>
  checkpoint.origin === host.origin
    ? signByRoot(host, root, Buffer.from(toCheckpointText(checkpoint)))
    : refuse('INVALID_REQUEST', 'ledger-root signs only checkpoints of its own ledger')

/** Rare (an epoch's opening, checkpoints), so the key is looked up each time and no copy of it is kept. */
const signByRoot = async (host: OpenHost, root: Uint8Array, message: Uint8Array): Promise<HostReply<Uint8Array>> => {
  const key = parseVerifyKey(root)
  const handle = key.ok ? await findRoot(host, key.value) : undefined
  return handle === undefined
    ? refuse('HSM_UNAVAILABLE', 'this backend does not hold the root key of this ledger that is in force')
    : { ok: true, value: await signBytes(host, handle, message) }
}

const signBytes = (host: OpenHost, handle: Handle, message: Uint8Array): Promise<Buffer> => {
  const row = findMechanism('ED25519', 'sign')
  must(row !== undefined, 'the table has ED25519')
  return signWith(host, {
    handle,
    mechanism: { mechanism: row.mechanism },
    message: asBuffer(message),
    timing: 'sign-root',
  })
}

/** The finished private halves of all roots of this ledger: of the one in force, of former ones, of one to come. */
export const listRootHandles = (host: OpenHost): readonly Handle[] =>
  findByLabel(host, pkcs11.CKO_PRIVATE_KEY, toLedgerRootLabel(host.origin)).filter((object) =>
    isGenerated(host.token, object),
  )

/** The private half of this public key, told by what it signs. */
export const findRoot = async (host: OpenHost, key: VerifyKey): Promise<Handle | undefined> => {
  for (const handle of listRootHandles(host)) if (await isHalfOf(host, handle, key)) return handle
  return undefined
}

/**
 * Whether this private object belongs to this public key. Labels, CKA_ID and public objects are not asked: whoever may write
 * the token can change them. The signature is of random bytes under a label that nothing else has, and stays here.
 */
export const isHalfOf = async (host: OpenHost, handle: Handle, key: VerifyKey): Promise<boolean> => {
  const probe = Buffer.concat([PROBE_LABEL, randomBytes(PROBE_BYTES)])
  return isSignedBy(key, probe, await signBytes(host, handle, probe))
}

const PROBE_LABEL = Buffer.from('chatelaine/probe/v1\0', 'latin1')
const PROBE_BYTES = 32
