import pkcs11 from 'pkcs11js'
import type { Instruction } from '../core/instruction.ts'
import { decrypt, encrypt, generateDataKey, random, reEncrypt } from './hostCrypto.ts'
import { exportKey } from './hostExport.ts'
import { createGenesis, createHandleKey, readGenesisState, unsealContextKey } from './hostGenesis.ts'
import { generateWrappingKey, importKey } from './hostImport.ts'
import { destroyObjects, findIds, readInventory } from './hostInventory.ts'
import { destroyKey, generateKey } from './hostKeys.ts'
import { generateDataKeyPair } from './hostPairs.ts'
import type { AdminRequest, Greeting, HostReply, HostRequest, OpenHost } from './hostRequest.ts'
import { signAsRoot, signCheckpoint } from './hostRoot.ts'
import { createNextRoot, destroyRoot, listRoots } from './hostRoots.ts'
import { generateMac, sign, verify, verifyMac } from './hostSigning.ts'
import { createKeyStore } from './keyStore.ts'
import type { Libraries, Library } from './library.ts'
import { findSupportedSpecs } from './mechanisms.ts'
import { readPin } from './pin.ts'
import { type HostFailure, isCkr, refuse, toDeviceFailure } from './pkcs11Failure.ts'
import { openToken, TokenAbsentError } from './token.ts'
import { probeWrapping } from './wrapping.ts'

/** Where one backend is and how to log in to it. `pinFile` is read again at each login. */
export interface HostConfig {
  readonly origin: string
  readonly backend: string
  readonly libPath: string
  readonly tokenLabel: string
  readonly pinFile: string
}

/** One backend's PKCS#11 work; the same code in the service's process and in a child. */
export interface HsmHost {
  /** Loads, logs in and finds the handle key; again after a failure, with everything of before dropped. */
  open(): Promise<HostReply<Greeting>>
  /** Does one request. The request's `Sensitive` members stay the caller's, the reply's become the caller's. */
  run(request: HostRequest): Promise<HostReply>
  close(): void
}

export const createHsmHost = (config: HostConfig, libraries: Libraries): HsmHost => {
  let library: Library | undefined
  let opened: OpenHost | undefined
  let wasOpen = false

  const drop = (): void => {
    opened?.token.close()
    opened = undefined
  }

  return {
    async open() {
      try {
        drop()
        library ??= libraries.use(config.libPath)
        // A token that went and came back may be invisible to an initialized library.
        if (wasOpen) library.restart()
        wasOpen = true
        opened = await openHost(config, library)
        return { ok: true, value: toGreeting(opened) }
      } catch (error) {
        drop()
        return toOpenFailure(error)
      }
    },
    async run(request) {
      if (opened === undefined) return refuse('HSM_UNAVAILABLE', 'the HSM backend of this key does not answer')
      try {
        return await dispatch(opened, request)
      } catch (error) {
        return toDeviceFailure(error)
      }
    },
    close() {
      drop()
      library?.release()
    },
  }
}

const toGreeting = ({ specs, keys, token, wrapping }: OpenHost): Greeting => ({
  specs,
  token: token.identity,
  handleKey: keys.findHandleKey(),
  wrapping: { algorithms: wrapping.algorithms, specs: wrapping.specs },
})

const openHost = async (config: HostConfig, library: Library): Promise<OpenHost> => {
  const { origin, backend } = config
  const token = openToken(library, config.tokenLabel, () => readPin(config.pinFile))
  try {
    const specs = findSupportedSpecs(token.offers)
    return {
      token,
      origin,
      backend,
      specs,
      wrapping: probeWrapping(token, specs),
      keys: await createKeyStore(token, config),
    }
  } catch (error) {
    token.close()
    throw error
  }
}

const REFUSED_LOGINS = [
  pkcs11.CKR_PIN_INCORRECT,
  pkcs11.CKR_PIN_LOCKED,
  pkcs11.CKR_PIN_LEN_RANGE,
  pkcs11.CKR_PIN_INVALID,
]

/** Every failure to open is the backend being away; the message is for the log and holds no PIN. */
const toOpenFailure = (error: unknown): HostFailure => {
  const failure = (message: string): HostFailure => ({ ok: false, code: 'HSM_UNAVAILABLE', message, device: true })
  if (isCkr(error, ...REFUSED_LOGINS)) return { ...failure('the token refused the PIN'), pinRefused: true }
  if (error instanceof TokenAbsentError) return failure(error.message)
  return failure(`the backend could not be opened: ${error instanceof Error ? error.message : 'unknown cause'}`)
}

/** What works without a handle key: all the rest would have to open or seal a handle. */
const NEEDS_NO_HANDLE_KEY: ReadonlySet<HostRequest['kind']> = new Set([
  'random',
  'verify',
  'inventory',
  'createGenesis',
  'createHandleKey',
  'genesisState',
  'forget',
])

const dispatch = async (host: OpenHost, request: HostRequest): Promise<HostReply> => {
  if (!NEEDS_NO_HANDLE_KEY.has(request.kind) && !host.keys.hasHandleKey() && !host.keys.findHandleKey())
    return refuse('HSM_UNAVAILABLE', 'the HSM backend has no handle key of this ledger, so none of its keys is usable')
  return isInstruction(request) ? execute(host, request) : administer(host, request)
}

const isInstruction = (request: HostRequest): request is Instruction => 'backend' in request

const execute = (host: OpenHost, instruction: Instruction): Promise<HostReply> => {
  switch (instruction.kind) {
    case 'encrypt':
      return encrypt(host, instruction)
    case 'decrypt':
      return decrypt(host, instruction)
    case 'reEncrypt':
      return reEncrypt(host, instruction)
    case 'generateDataKey':
      return generateDataKey(host, instruction)
    case 'generateDataKeyPair':
      return generateDataKeyPair(host, instruction)
    case 'generateWrappingKey':
      return generateWrappingKey(host, instruction)
    case 'importKey':
      return importKey(host, instruction)
    case 'exportKey':
      return exportKey(host, instruction)
    case 'random':
      return random(host, instruction)
    case 'sign':
      return sign(host, instruction)
    case 'verify':
      return verify(host, instruction)
    case 'generateMac':
      return generateMac(host, instruction)
    case 'verifyMac':
      return verifyMac(host, instruction)
    case 'generateKey':
      return generateKey(host, instruction)
    case 'destroyKey':
      return destroyKey(host, instruction)
    case 'openBackend':
    case 'closeBackend':
      throw new Error('which backends there are is not for one host to decide')
    default:
      // Not rendered: an instruction can hold a context or a message.
      instruction satisfies never
      throw new Error('an instruction of an unknown kind')
  }
}

const administer = async (host: OpenHost, request: AdminRequest): Promise<HostReply> => {
  switch (request.kind) {
    case 'inventory':
      return readInventory(host)
    case 'findIds':
      return findIds(host, request.keys)
    case 'destroyObjects':
      return destroyObjects(host, request.ckaIdsHex)
    case 'createGenesis':
      return createGenesis(host)
    case 'createHandleKey':
      return createHandleKey(host)
    case 'genesisState':
      return readGenesisState(host)
    case 'signAsRoot':
      return signAsRoot(host, request)
    case 'signCheckpoint':
      return signCheckpoint(host, request)
    case 'listRoots':
      return listRoots(host)
    case 'createNextRoot':
      return createNextRoot(host, request.known)
    case 'destroyRoot':
      return destroyRoot(host, request.root)
    case 'unsealContextKey':
      return unsealContextKey(host, request.sealed)
    case 'forget': {
      const { lid, version } = request
      const isOne = lid !== undefined && version !== undefined
      host.keys.forget(isOne ? { lid, version } : undefined)
      return { ok: true, value: { handleKey: isOne ? host.keys.hasHandleKey() : host.keys.findHandleKey() } }
    }
    default:
      throw new Error(`a request of an unknown kind: ${JSON.stringify(request satisfies never)}`)
  }
}
