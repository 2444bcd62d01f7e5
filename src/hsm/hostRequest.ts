import type { KeySpecName } from '../../schemas/keys.ts'
import type { Checkpoint } from '../core/checkpoint.ts'
import type { Instruction, MaterialRef, Outputs } from '../core/instruction.ts'
import type { Genesis, HsmObject, WrappingSupport } from '../core/ports.ts'
import { Sensitive } from '../core/sensitive.ts'
import type { KeyStore } from './keyStore.ts'
import type { HostFailure } from './pkcs11Failure.ts'
import type { Token } from './token.ts'
import type { HostWrapping } from './wrapping.ts'

/** What a host can be asked besides instructions; one vocabulary for both placements. */
export type AdminRequest =
  | { readonly kind: 'inventory' }
  | { readonly kind: 'findIds'; readonly keys: readonly MaterialRef[] }
  | { readonly kind: 'destroyObjects'; readonly ckaIdsHex: readonly string[] }
  | { readonly kind: 'createGenesis' }
  | { readonly kind: 'createHandleKey' }
  | { readonly kind: 'genesisState' }
  | { readonly kind: 'signAsRoot'; readonly root: Uint8Array; readonly message: Uint8Array }
  | { readonly kind: 'signCheckpoint'; readonly root: Uint8Array; readonly checkpoint: Checkpoint }
  | { readonly kind: 'listRoots' }
  | { readonly kind: 'createNextRoot'; readonly known: readonly Uint8Array[] }
  | { readonly kind: 'destroyRoot'; readonly root: Uint8Array }
  | { readonly kind: 'unsealContextKey'; readonly sealed: Uint8Array }
  /** Drops copies of a version, or of everything, and looks the handle key up again. */
  | { readonly kind: 'forget'; readonly lid?: string; readonly version?: number }

export type HostRequest = Instruction | AdminRequest
export type HostRequestKind = HostRequest['kind']

export interface AdminOutputs {
  readonly inventory: readonly HsmObject[]
  /** Positions in the request's `keys`. */
  /** '' for a version that the token does not hold. */
  readonly findIds: readonly string[]
  readonly destroyObjects: number
  readonly createGenesis: Genesis
  readonly createHandleKey: 'found' | 'made'
  readonly genesisState: { readonly handleKey: boolean; readonly ledgerRoot: boolean; readonly others: number }
  readonly signAsRoot: Uint8Array
  readonly signCheckpoint: Uint8Array
  readonly listRoots: readonly Uint8Array[]
  readonly createNextRoot: Uint8Array
  readonly destroyRoot: boolean
  readonly unsealContextKey: Sensitive
  readonly forget: { readonly handleKey: boolean }
}
export type HostOutputs = Outputs & AdminOutputs

export type HostReply<T = unknown> = { readonly ok: true; readonly value: T } | HostFailure

/** What a host says when it has opened its token. */
export interface Greeting {
  readonly specs: readonly KeySpecName[]
  readonly handleKey: boolean
  readonly wrapping: WrappingSupport
  /** Which token it is: maker, model and serial number. No two backends may share one. */
  readonly token: string
}

/** One opened token, as the handlers see it. */
export interface OpenHost {
  readonly token: Token
  readonly keys: KeyStore
  readonly origin: string
  readonly backend: string
  readonly specs: readonly KeySpecName[]
  readonly wrapping: HostWrapping
}

/** Disposes the secrets of a value that nobody waits for any more. */
export const discardSecrets = (value: unknown): void => {
  if (typeof value !== 'object' || value === null) return
  if (value instanceof Sensitive) value[Symbol.dispose]()
  for (const member of Object.values(value)) if (member instanceof Sensitive) member[Symbol.dispose]()
}

const isBytes = (value: unknown): boolean => value instanceof Uint8Array
const isFoundOrMade = (value: unknown): boolean => value === 'found' || value === 'made'
const isFlag = (value: unknown): boolean => typeof value === 'boolean'
const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null
const has = (value: unknown, name: string, check: (member: unknown) => boolean): boolean =>
  isObject(value) && check(value[name])

const SHAPES: Readonly<Record<HostRequestKind, (value: unknown) => boolean>> = {
  generateKey: (value) => has(value, 'sealedHandle', isBytes),
  encrypt: (value) => has(value, 'blob', isBytes),
  decrypt: (value) => has(value, 'plaintext', (member) => member instanceof Sensitive),
  reEncrypt: (value) => has(value, 'blob', isBytes),
  generateDataKey: (value) => has(value, 'blob', isBytes),
  generateDataKeyPair: (value) => has(value, 'blob', isBytes) && has(value, 'publicKey', isBytes),
  random: (value) => has(value, 'bytes', (member) => member instanceof Sensitive),
  sign: (value) => has(value, 'signature', isBytes),
  verify: (value) => has(value, 'valid', isFlag),
  generateMac: (value) => has(value, 'mac', isBytes),
  verifyMac: (value) => has(value, 'valid', isFlag),
  generateWrappingKey: (value) =>
    has(value, 'sealedHandle', isBytes) &&
    has(value, 'publicKey', isBytes) &&
    has(value, 'secret', (member) => member instanceof Sensitive),
  importKey: (value) => has(value, 'sealedHandle', isBytes),
  exportKey: (value) => has(value, 'wrapped', isBytes),
  destroyKey: (value) => has(value, 'destroyed', isFlag),
  openBackend: (value) => has(value, 'handleKey', isFoundOrMade),
  closeBackend: (value) => has(value, 'closed', isFlag),
  inventory: Array.isArray,
  findIds: Array.isArray,
  destroyObjects: (value) => typeof value === 'number',
  createGenesis: (value) => has(value, 'rootPublicKey', isBytes) && has(value, 'sealedContextKey', isBytes),
  createHandleKey: isFoundOrMade,
  genesisState: (value) => has(value, 'handleKey', isFlag) && has(value, 'ledgerRoot', isFlag),
  signAsRoot: isBytes,
  signCheckpoint: isBytes,
  listRoots: (value) => Array.isArray(value) && value.every(isBytes),
  createNextRoot: isBytes,
  destroyRoot: isFlag,
  unsealContextKey: (value) => value instanceof Sensitive,
  forget: (value) => has(value, 'handleKey', isFlag),
}

/** Whether a host's value has the shape that this kind of request gives: the border of the child process. */
export const isOutputOf = <K extends HostRequestKind>(kind: K, value: unknown): value is HostOutputs[K] =>
  SHAPES[kind](value)

/** Whether this is a request; its members are trusted, since only the parent process can write to a host's pipe. */
export const isHostRequest = (value: unknown): value is HostRequest =>
  isObject(value) && typeof value.kind === 'string' && Object.hasOwn(SHAPES, value.kind)
