import pkcs11 from 'pkcs11js'
import { type Checkpoint, toCheckpointText } from '../core/checkpoint.ts'
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
export const signAsRoot = async (host: OpenHost, message: Uint8Array): Promise<HostReply<Uint8Array>> =>
  isLedgerMessage(message)
    ? signByRoot(host, message)
    : refuse('INVALID_REQUEST', 'ledger-root signs only what begins with a label of the ledger')

/** Signs the text of a checkpoint of this host's ledger. The text is made here, so it is nothing else. */
export const signCheckpoint = async (host: OpenHost, checkpoint: Checkpoint): Promise<HostReply<Uint8Array>> =>
  checkpoint.origin === host.origin
    ? signByRoot(host, Buffer.from(toCheckpointText(checkpoint)))
    : refuse('INVALID_REQUEST', 'ledger-root signs only checkpoints of its own ledger')

/** Rare (an epoch's opening, checkpoints), so the key is looked up each time and no copy of it is kept. */
const signByRoot = async (host: OpenHost, message: Uint8Array): Promise<HostReply<Uint8Array>> => {
  const row = findMechanism('ED25519', 'sign')
  must(row !== undefined, 'the table has ED25519')
  const found = findByLabel(host, pkcs11.CKO_PRIVATE_KEY, toLedgerRootLabel(host.origin)).filter((object) =>
    isGenerated(host.token, object),
  )
  const [root, ...others] = found
  if (root === undefined || others.length > 0)
    return refuse('HSM_UNAVAILABLE', 'this backend does not hold exactly one ledger-root of this ledger')
  const call = {
    handle: root,
    mechanism: { mechanism: row.mechanism },
    message: asBuffer(message),
    timing: 'sign-root',
  }
  return { ok: true, value: await signWith(host, call) }
}
