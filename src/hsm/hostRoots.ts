import pkcs11, { type Handle } from 'pkcs11js'
import { parseVerifyKey } from '../core/ed25519.ts'
import { must } from '../core/result.ts'
import { randomFrom } from './gcm.ts'
import { findByLabel, generatePair } from './hostKeys.ts'
import type { HostReply, OpenHost } from './hostRequest.ts'
import { findRoot, isHalfOf, listRootHandles } from './hostRoot.ts'
import { toLedgerRootLabel } from './material.ts'
import { findMechanism, type MechanismRow } from './mechanisms.ts'
import { refuse } from './pkcs11Failure.ts'
import { toRawEd25519, unwrapOctetString } from './publicKey.ts'
import { findObjects, isGenerated, readAttribute } from './tokenObjects.ts'

const CKA_ID_BYTES = 16

/** The raw public keys of the finished roots; one whose public object is gone or exchanged is not among them. */
export const listRoots = async (host: OpenHost): Promise<HostReply<readonly Buffer[]>> => {
  const found = await readRoots(host)
  return { ok: true, value: found.map(({ publicKey }) => publicKey) }
}

/** See `HsmRoots.createNextRoot`. Halves that a kill left behind are removed; a finished root never is, known or not. */
export const createNextRoot = async (host: OpenHost, known: readonly Uint8Array[]): Promise<HostReply<Buffer>> => {
  if (!host.specs.includes('ED25519')) return refuse('UNSUPPORTED_BY_HSM', 'the HSM lacks Ed25519')
  const isKnown = (publicKey: Buffer) => known.some((one) => publicKey.equals(one))
  const waiting = (await readRoots(host)).find(
    ({ handle, publicKey }) => !isKnown(publicKey) && wasAlwaysInside(host, handle),
  )
  if (waiting !== undefined) return { ok: true, value: waiting.publicKey }
  removeHalves(host)
  const ckaId = randomFrom(host.token, CKA_ID_BYTES)
  const label = toLedgerRootLabel(host.origin)
  const spki = await generatePair(host, ed25519Row(), { label, ckaId, exportable: false, keepPublic: true })
  return { ok: true, value: toRawEd25519(spki) }
}

/** The private half first: what a kill in between leaves is a public object, which signs nothing. */
export const destroyRoot = async (host: OpenHost, root: Uint8Array): Promise<HostReply<boolean>> => {
  const key = parseVerifyKey(root)
  const handle = key.ok ? await findRoot(host, key.value) : undefined
  if (handle !== undefined) host.token.lib.C_DestroyObject(host.token.keeper, handle)
  for (const object of findByLabel(host, pkcs11.CKO_PUBLIC_KEY, toLedgerRootLabel(host.origin)))
    if (readPublic(host, object)?.equals(root) === true) host.token.lib.C_DestroyObject(host.token.keeper, object)
  return { ok: true, value: handle !== undefined }
}

interface Root {
  readonly handle: Handle
  readonly publicKey: Buffer
}

/** Each finished private half with the public object beside it, if that is really its own. */
const readRoots = async (host: OpenHost): Promise<readonly Root[]> => {
  const roots: Root[] = []
  for (const handle of listRootHandles(host)) {
    const publicKey = await readOwnPublic(host, handle)
    if (publicKey !== undefined) roots.push({ handle, publicKey })
  }
  return roots
}

const readOwnPublic = async (host: OpenHost, handle: Handle): Promise<Buffer | undefined> => {
  const id = readAttribute(host.token, handle, pkcs11.CKA_ID)
  if (id === undefined) return undefined
  for (const object of findBeside(host, pkcs11.CKO_PUBLIC_KEY, id)) {
    const publicKey = readPublic(host, object)
    const key = publicKey === undefined ? undefined : parseVerifyKey(publicKey)
    if (key?.ok && (await isHalfOf(host, handle, key.value))) return publicKey
  }
  return undefined
}

/** The raw public key of an object; none of one that a kill left half-written. */
const readPublic = (host: OpenHost, object: Handle): Buffer | undefined => {
  const point = readAttribute(host.token, object, pkcs11.CKA_EC_POINT)
  const raw = point === undefined ? undefined : unwrapOctetString(point)
  return raw?.length === RAW_BYTES ? raw : undefined
}
const RAW_BYTES = 32

/** Token objects of a root's label that have this CKA_ID, which the two halves of a pair share. */
const findBeside = (host: OpenHost, objectClass: number, id: Buffer): readonly Handle[] =>
  findObjects(host.token, [
    { type: pkcs11.CKA_TOKEN, value: true },
    { type: pkcs11.CKA_CLASS, value: objectClass },
    { type: pkcs11.CKA_LABEL, value: toLedgerRootLabel(host.origin) },
    { type: pkcs11.CKA_ID, value: id },
  ])

/** Both are set by the token alone (PKCS#11 v2.40 §4.4): nobody can give them to a key that he could take out once. */
const wasAlwaysInside = (host: OpenHost, handle: Handle): boolean =>
  [pkcs11.CKA_NEVER_EXTRACTABLE, pkcs11.CKA_ALWAYS_SENSITIVE].every(
    (type) => readAttribute(host.token, handle, type)?.[0] === 1,
  )

/** Removes private halves that were never finished, and public ones that have no private half. */
const removeHalves = (host: OpenHost): void => {
  const label = toLedgerRootLabel(host.origin)
  const destroy = (object: Handle): void => host.token.lib.C_DestroyObject(host.token.keeper, object)
  for (const object of findByLabel(host, pkcs11.CKO_PRIVATE_KEY, label))
    if (!isGenerated(host.token, object)) destroy(object)
  for (const object of findByLabel(host, pkcs11.CKO_PUBLIC_KEY, label)) {
    const id = readAttribute(host.token, object, pkcs11.CKA_ID)
    if (id === undefined || findBeside(host, pkcs11.CKO_PRIVATE_KEY, id).length === 0) destroy(object)
  }
}

const ed25519Row = (): MechanismRow => {
  const row = findMechanism('ED25519', 'generate')
  must(row !== undefined, 'the table has ED25519')
  return row
}
