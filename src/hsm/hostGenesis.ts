import pkcs11, { type Handle } from 'pkcs11js'
import { must } from '../core/result.ts'
import { Sensitive } from '../core/sensitive.ts'
import { randomFrom } from './gcm.ts'
import { findByLabel, generatePair, generateSecret } from './hostKeys.ts'
import type { AdminOutputs, HostReply, OpenHost } from './hostRequest.ts'
import { listRootHandles } from './hostRoot.ts'
import { listRoots } from './hostRoots.ts'
import { toHandleKeyLabel, toLabelPrefix, toLedgerRootLabel } from './material.ts'
import { findMechanism } from './mechanisms.ts'
import { refuse } from './pkcs11Failure.ts'
import { toRawEd25519 } from './publicKey.ts'
import { findObjects, isGenerated, readLabel } from './tokenObjects.ts'

const CONTEXT_KEY_BYTES = 32
const CKA_ID_BYTES = 16

/** Makes what is missing of handle key and `ledger-root`, removes unfinished halves of them, seals a new context key. */
export const createGenesis = async (host: OpenHost): Promise<HostReply<AdminOutputs['createGenesis']>> => {
  if (!host.specs.includes('AES_256') || !host.specs.includes('ED25519'))
    return refuse('UNSUPPORTED_BY_HSM', 'the HSM lacks AES-GCM or Ed25519, which the ledger itself needs')
  if (listRootHandles(host).length > 1)
    return refuse(
      'INVALID_REQUEST',
      'the token holds more than one root key of this ledger: it was rotated, so there is a ledger',
    )
  await makeHandleKey(host)
  const rootPublicKey = await makeLedgerRoot(host)
  if (rootPublicKey === undefined)
    return refuse('HSM_UNAVAILABLE', 'ledger-root has no public key object on the token; it is not replaced')
  must(host.keys.findHandleKey(), 'the handle key that was just made is on the token once')
  const contextKey = randomFrom(host.token, CONTEXT_KEY_BYTES)
  try {
    return { ok: true, value: { rootPublicKey, sealedContextKey: await host.keys.sealContextKey(contextKey) } }
  } finally {
    contextKey.fill(0)
  }
}

/**
 * The handle key of a backend that is not the ledger's own. It is made only on a token that holds nothing of this origin:
 * where there are keys without it, it was lost with all their handles, and a new one would only hide that.
 */
export const createHandleKey = async (host: OpenHost): Promise<HostReply<AdminOutputs['createHandleKey']>> => {
  if (!host.specs.includes('AES_256'))
    return refuse('UNSUPPORTED_BY_HSM', 'the HSM lacks AES-GCM, which every backend needs for its handles')
  if (host.keys.findHandleKey()) return { ok: true, value: 'found' }
  const state = await readGenesisState(host)
  if (!state.ok) return state
  const { handleKey, ledgerRoot, others } = state.value
  if (handleKey || ledgerRoot || others > 0)
    return refuse('INVALID_REQUEST', `the token holds objects of this ledger, but not one handle key: none is made`)
  const made = await makeHandleKey(host)
  if (host.keys.findHandleKey()) return { ok: true, value: 'made' }
  // Somebody else made one at the same moment. Neither has sealed anything yet, so ours goes.
  if (made !== undefined) host.token.lib.C_DestroyObject(host.token.keeper, made)
  return refuse('HSM_UNAVAILABLE', 'another process makes the handle key of this token at this moment')
}

const makeHandleKey = async (host: OpenHost): Promise<Handle | undefined> => {
  const label = toHandleKeyLabel(host.origin)
  if (removeUnfinished(host, pkcs11.CKO_SECRET_KEY, label).length > 0) return undefined
  const row = findMechanism('AES_256', 'generate')
  must(row !== undefined, 'the table has AES_256')
  return generateSecret(host, row, { label, ckaId: randomFrom(host.token, CKA_ID_BYTES), exportable: false })
}

/** The raw public key; none if a finished private key has lost its public object, since no root is ever replaced here. */
const makeLedgerRoot = async (host: OpenHost): Promise<Buffer | undefined> => {
  const label = toLedgerRootLabel(host.origin)
  const row = findMechanism('ED25519', 'generate')
  must(row !== undefined, 'the table has ED25519')
  if (removeUnfinished(host, pkcs11.CKO_PRIVATE_KEY, label).length > 0) {
    const known = await listRoots(host)
    return known.ok ? known.value[0] : undefined
  }
  for (const orphan of findByLabel(host, pkcs11.CKO_PUBLIC_KEY, label))
    host.token.lib.C_DestroyObject(host.token.keeper, orphan)
  const ckaId = randomFrom(host.token, CKA_ID_BYTES)
  return toRawEd25519(await generatePair(host, row, { label, ckaId, exportable: false, keepPublic: true }))
}

/** Removes the half-written objects of this label; gives the finished ones. */
const removeUnfinished = (host: OpenHost, objectClass: number, label: string): readonly Handle[] =>
  findByLabel(host, objectClass, label).filter((object) => {
    if (isGenerated(host.token, object)) return true
    host.token.lib.C_DestroyObject(host.token.keeper, object)
    return false
  })

export const readGenesisState = async (host: OpenHost): Promise<HostReply<AdminOutputs['genesisState']>> => {
  const isThere = (objectClass: number, label: string): boolean =>
    findByLabel(host, objectClass, label).some((object) => isGenerated(host.token, object))
  const own = new Set([toHandleKeyLabel(host.origin), toLedgerRootLabel(host.origin)])
  const others = findObjects(host.token, [{ type: pkcs11.CKA_TOKEN, value: true }]).filter((object) => {
    const label = readLabel(host.token, object)
    return label.startsWith(toLabelPrefix(host.origin)) && !own.has(label)
  })
  return {
    ok: true,
    value: {
      handleKey: isThere(pkcs11.CKO_SECRET_KEY, toHandleKeyLabel(host.origin)),
      ledgerRoot: isThere(pkcs11.CKO_PRIVATE_KEY, toLedgerRootLabel(host.origin)),
      // No ledger without commits has more than one root.
      others: others.length + Math.max(0, listRootHandles(host).length - 1),
    },
  }
}

export const unsealContextKey = async (host: OpenHost, sealed: Uint8Array): Promise<HostReply<Sensitive>> => {
  const opened = await host.keys.unsealContextKey(sealed)
  return opened === undefined
    ? refuse('INVALID_CIPHERTEXT', 'the context key was not sealed by this backend for this ledger')
    : { ok: true, value: new Sensitive(opened) }
}
