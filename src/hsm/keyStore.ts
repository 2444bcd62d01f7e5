import pkcs11, { type Handle } from 'pkcs11js'
import { LIMITS } from '../../schemas/limits.ts'
import type { MaterialRef } from '../core/instruction.ts'
import { must } from '../core/result.ts'
import { openGcm, randomFrom, sealGcm } from './gcm.ts'
import { parseMaterialLabel, toContextKeyAad, toHandleAad, toHandleKeyLabel } from './material.ts'
import { toPublicObject } from './publicKey.ts'
import type { Token } from './token.ts'
import {
  copyToSession,
  destroyQuietly,
  findObjects,
  isGenerated,
  isImported,
  isSessionObject,
  readLabel,
} from './tokenObjects.ts'

/** The handles of one opened token: found once, copied into the session, kept while they are used. */
export interface KeyStore {
  /** Looks the handle key up again; the token may have got it since. False: this backend has no usable keys. */
  findHandleKey(): boolean
  hasHandleKey(): boolean
  /** The handle to use a version's material by; none if the token does not hold it. */
  use(ref: MaterialRef): Handle | Promise<Handle | undefined>
  /** A session object that verifies by the ref's public key. */
  usePublic(ref: MaterialRef & { readonly publicKey: Uint8Array }): Handle
  /** The token's own objects of a version, for destroying them. */
  findMaterial(ref: MaterialRef): Promise<readonly Handle[]>
  unseal(ref: MaterialRef): Promise<Buffer | undefined>
  seal(ckaId: Buffer, lid: string, version: number): Promise<Buffer>
  sealContextKey(contextKey: Buffer): Promise<Buffer>
  unsealContextKey(sealed: Uint8Array): Promise<Buffer | undefined>
  /** Drops the copies of a version, or of everything. */
  forget(version?: { readonly lid: string; readonly version: number }): void
  /** Whether the token still opens what it sealed at login; tells wrong bytes from a broken device. */
  isDeviceSound(): Promise<boolean>
}

export const createKeyStore = async (
  token: Token,
  scope: { readonly origin: string; readonly backend: string },
): Promise<KeyStore> => {
  const copies = createHandleCache(token)
  const publics = createHandleCache(token)
  const pending = new Map<string, Promise<Handle | undefined>>()
  const canary = await createCanary(token)
  let handleKey: Handle | undefined

  const sealingKey = (): Handle => {
    must(handleKey !== undefined, 'a handle is sealed or opened only where there is a handle key')
    return handleKey
  }
  const open = async (sealed: Uint8Array, aad: Buffer): Promise<Buffer | undefined> => {
    const opened = await openGcm(token, sealingKey(), { sealed, aad }, canary)
    return opened.ok ? opened.plaintext : undefined
  }
  const seal = (plaintext: Buffer, aad: Buffer): Promise<Buffer> =>
    sealGcm(token, sealingKey(), { prefix: new Uint8Array(0), aad, plaintext })
  const unseal = (ref: MaterialRef): Promise<Buffer | undefined> =>
    open(ref.sealedHandle, toHandleAad(scope.origin, scope.backend, ref.lid, ref.version))

  const findMaterial = async (ref: MaterialRef): Promise<readonly Handle[]> => {
    const id = await unseal(ref)
    if (id === undefined) return []
    const found = findObjects(token, [
      { type: pkcs11.CKA_TOKEN, value: true },
      { type: pkcs11.CKA_ID, value: id },
    ])
    return found.filter((object) => {
      const parts = parseMaterialLabel(scope.origin, readLabel(token, object))
      return parts !== undefined && parts.lid === ref.lid && parts.version === ref.version
    })
  }

  const resolve = async (ref: MaterialRef, name: string): Promise<Handle | undefined> => {
    const isMade = ref.imported ? isImported : isGenerated
    const object = (await findMaterial(ref)).find((candidate) => isMade(token, candidate))
    if (object === undefined) return undefined
    const copy = copyToSession(token, object)
    copies.put(name, copy)
    return copy
  }

  return {
    findHandleKey() {
      if (handleKey !== undefined) destroyCopy(token, handleKey)
      const label = toHandleKeyLabel(scope.origin)
      const found = findObjects(token, [
        { type: pkcs11.CKA_TOKEN, value: true },
        { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
        { type: pkcs11.CKA_LABEL, value: label },
      ]).filter((object) => isGenerated(token, object))
      // Two keys under the one label: somebody planted one, and neither can be trusted to be the ledger's.
      const [only, ...others] = found
      handleKey = only === undefined || others.length > 0 ? undefined : copyToSession(token, only)
      return handleKey !== undefined
    },
    hasHandleKey: () => handleKey !== undefined,
    use(ref) {
      const name = toName(ref)
      const known = copies.get(name)
      if (known !== undefined) return known
      const begun = pending.get(name) ?? resolve(ref, name).finally(() => pending.delete(name))
      pending.set(name, begun)
      return begun
    },
    usePublic(ref) {
      const name = Buffer.from(ref.publicKey).toString('latin1')
      const known = publics.get(name)
      if (known !== undefined) return known
      const object = token.lib.C_CreateObject(token.keeper, toPublicObject(ref.spec, ref.publicKey))
      publics.put(name, object)
      return object
    },
    findMaterial,
    unseal,
    seal: (ckaId, lid, version) => seal(ckaId, toHandleAad(scope.origin, scope.backend, lid, version)),
    sealContextKey: (contextKey) => seal(contextKey, toContextKeyAad(scope.origin, scope.backend)),
    unsealContextKey: (sealed) => open(sealed, toContextKeyAad(scope.origin, scope.backend)),
    forget(version) {
      copies.drop(version === undefined ? undefined : `${version.lid}/${version.version}/`)
    },
    isDeviceSound: canary,
  }
}

/** The sealed handle is part of the name: a ref that names another handle never meets a cached key. */
const toName = (ref: MaterialRef): string =>
  `${ref.lid}/${ref.version}/${Buffer.from(ref.sealedHandle).toString('latin1')}`

interface HandleCache {
  get(name: string): Handle | undefined
  put(name: string, handle: Handle): void
  drop(prefix: string | undefined): void
}

/** Bounded; the least recently used copy goes first. */
const createHandleCache = (token: Token): HandleCache => {
  const handles = new Map<string, Handle>()
  const remove = (name: string, handle: Handle): void => {
    handles.delete(name)
    destroyCopy(token, handle)
  }
  return {
    get(name) {
      const handle = handles.get(name)
      if (handle === undefined) return undefined
      handles.delete(name)
      handles.set(name, handle)
      return handle
    },
    put(name, handle) {
      handles.set(name, handle)
      const [oldest] = handles
      if (handles.size > LIMITS.hsmHandleCacheMax && oldest !== undefined) remove(oldest[0], oldest[1])
    },
    drop(prefix) {
      for (const [name, handle] of [...handles])
        if (prefix === undefined || name.startsWith(prefix)) remove(name, handle)
    },
  }
}

/** Only ever a copy: where a token forbids copies the handle is the token's own object. */
const destroyCopy = (token: Token, handle: Handle): void => {
  try {
    if (isSessionObject(token, handle)) destroyQuietly(token, handle)
  } catch {
    // The handle died with its session or its object.
  }
}

/** A session key and something sealed under it at login; no key of anybody spends a nonce on it later. */
const createCanary = async (token: Token): Promise<() => Promise<boolean>> => {
  const key = token.lib.C_GenerateKey(token.keeper, { mechanism: pkcs11.CKM_AES_KEY_GEN }, [
    { type: pkcs11.CKA_TOKEN, value: false },
    { type: pkcs11.CKA_ENCRYPT, value: true },
    { type: pkcs11.CKA_DECRYPT, value: true },
    { type: pkcs11.CKA_VALUE_LEN, value: 32 },
  ])
  const aad = Buffer.from('canary')
  const sealed = await sealGcm(token, key, { prefix: new Uint8Array(0), aad, plaintext: randomFrom(token, 16) })
  return async () => {
    try {
      return (await openGcm(token, key, { sealed, aad }, async () => false)).ok
    } catch {
      return false
    }
  }
}
