import { setImmediate as nextTurn } from 'node:timers/promises'
import pkcs11, { type Handle } from 'pkcs11js'
import type { MaterialRef } from '../core/instruction.ts'
import type { HsmObject } from '../core/ports.ts'
import type { HostReply, OpenHost } from './hostRequest.ts'
import { parseMaterialLabel, toHandleKeyLabel, toLabelPrefix, toLedgerRootLabel } from './material.ts'
import { findObjects, isGenerated, isImported, readAttribute, readClass, readLabel } from './tokenObjects.ts'

const CLASS_NAMES: ReadonlyMap<number | undefined, string> = new Map([
  [pkcs11.CKO_SECRET_KEY, 'secret_key'],
  [pkcs11.CKO_PRIVATE_KEY, 'private_key'],
  [pkcs11.CKO_PUBLIC_KEY, 'public_key'],
])
const OBJECTS_PER_TURN = 200
const CKA_ID_BYTES = 16

/**
 * Every object of this origin but its two own keys, and every key object without any label: a kill during key
 * generation can leave one, and nobody can say whose it is.
 */
export const readInventory = async (host: OpenHost): Promise<HostReply<readonly HsmObject[]>> => {
  const listed: HsmObject[] = []
  for await (const object of eachObject(host)) {
    const described = describe(host, object)
    if (described !== undefined) listed.push(described)
  }
  return { ok: true, value: listed }
}

/** Gives way to other calls every few objects: a token may hold tens of thousands. */
async function* eachObject(host: OpenHost): AsyncGenerator<Handle> {
  let count = 0
  for (const object of findObjects(host.token, [{ type: pkcs11.CKA_TOKEN, value: true }])) {
    yield object
    count += 1
    if (count % OBJECTS_PER_TURN === 0) await nextTurn()
  }
}

const describe = (host: OpenHost, object: Handle): HsmObject | undefined => {
  try {
    const label = readLabel(host.token, object)
    if (isOwnKey(host, label) || !(label === '' || label.startsWith(toLabelPrefix(host.origin)))) return undefined
    const objectClass = readClass(host.token, object)
    if (label === '' && !CLASS_NAMES.has(objectClass) && objectClass !== undefined) return undefined
    const ckaId = readAttribute(host.token, object, pkcs11.CKA_ID) ?? Buffer.alloc(0)
    const parts = parseMaterialLabel(host.origin, label)
    const imported = isImported(host.token, object)
    const isFinished = imported || isGenerated(host.token, object)
    return {
      label,
      ckaIdHex: ckaId.toString('hex'),
      objectClass: CLASS_NAMES.get(objectClass) ?? 'unknown',
      ...parts,
      complete: parts !== undefined && ckaId.length === CKA_ID_BYTES && isFinished,
      imported,
    }
  } catch (error) {
    // Destroyed by somebody between the listing and here.
    if (error instanceof Error && error.message === 'CKR_OBJECT_HANDLE_INVALID') return undefined
    throw error
  }
}

const isOwnKey = (host: OpenHost, label: string): boolean =>
  label === toHandleKeyLabel(host.origin) || label === toLedgerRootLabel(host.origin)

/** Lists the token once and opens each handle, since finding one object among many is slow. */
export const findIds = async (host: OpenHost, keys: readonly MaterialRef[]): Promise<HostReply<readonly string[]>> => {
  const inventory = await readInventory(host)
  if (!inventory.ok) return inventory
  const held = new Set(
    inventory.value
      .filter((object) => object.complete && object.objectClass !== 'public_key')
      .map((object) => `${object.ckaIdHex}/${object.lid}/${object.version}/${object.imported}`),
  )
  const found: string[] = []
  for (const [index, key] of keys.entries()) {
    const hex = (await host.keys.unseal(key))?.toString('hex') ?? ''
    found.push(held.has(`${hex}/${key.lid}/${key.version}/${key.imported === true}`) ? hex : '')
    if (index % OBJECTS_PER_TURN === 0) await nextTurn()
  }
  return { ok: true, value: found }
}

/** Only what {@link readInventory} would list can be destroyed: never the ledger's own keys or another origin's. */
export const destroyObjects = async (host: OpenHost, ckaIdsHex: readonly string[]): Promise<HostReply<number>> => {
  let destroyed = 0
  for (const hex of ckaIdsHex) {
    const id = Buffer.from(hex, 'hex')
    if (id.length === 0 || id.toString('hex') !== hex) continue
    const template = [
      { type: pkcs11.CKA_TOKEN, value: true },
      { type: pkcs11.CKA_ID, value: id },
    ]
    for (const object of findObjects(host.token, template)) {
      if (!readLabel(host.token, object).startsWith(toLabelPrefix(host.origin))) continue
      if (describe(host, object) === undefined) continue
      host.token.lib.C_DestroyObject(host.token.keeper, object)
      destroyed += 1
    }
    await nextTurn()
  }
  host.keys.forget()
  return { ok: true, value: destroyed }
}
