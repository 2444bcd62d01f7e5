import type { Handle } from 'pkcs11js'
import pkcs11 from 'pkcs11js'
import type { Instruction, MaterialRef, Outputs } from '../core/instruction.ts'
import { Sensitive } from '../core/sensitive.ts'
import { openGcm, randomFrom, sealGcm } from './gcm.ts'
import type { HostReply, OpenHost } from './hostRequest.ts'
import { findMechanism } from './mechanisms.ts'
import { INVALID_CIPHERTEXT, isCkr, MATERIAL_MISSING, refuse } from './pkcs11Failure.ts'

type Of<K extends Instruction['kind']> = Extract<Instruction, { readonly kind: K }>

const HEADER_BYTES = 80

const success = <T>(value: T): HostReply<T> => ({ ok: true, value })
export const NOT_IN_TABLE = refuse('INVALID_REQUEST', 'the key is not of a spec that can do this')

const aadOf = (header: Uint8Array, context: Uint8Array): Buffer => Buffer.concat([header, context])

/**
 * Runs `work` with the version's handle. If the token says that the handle is none, the copy has died and the object is
 * looked up once more: a session's loss and an object's destruction look the same from here.
 */
export const withKey = async <T>(
  host: OpenHost,
  key: MaterialRef,
  work: (handle: Handle) => Promise<HostReply<T>>,
): Promise<HostReply<T>> => {
  const handle = await host.keys.use(key)
  if (handle === undefined) return MATERIAL_MISSING
  try {
    return await work(handle)
  } catch (error) {
    if (!isCkr(error, pkcs11.CKR_OBJECT_HANDLE_INVALID, pkcs11.CKR_KEY_HANDLE_INVALID)) throw error
    host.keys.forget(key)
    const again = await host.keys.use(key)
    return again === undefined ? MATERIAL_MISSING : work(again)
  }
}

/** Seals under a key; the plaintext stays the caller's. */
export const seal = (
  host: OpenHost,
  input: { readonly key: MaterialRef; readonly header: Uint8Array; readonly context: Uint8Array },
  plaintext: Uint8Array,
): Promise<HostReply<{ blob: Uint8Array }>> => {
  if (findMechanism(input.key.spec, 'encrypt') === undefined) return Promise.resolve(NOT_IN_TABLE)
  const aad = aadOf(input.header, input.context)
  return withKey(host, input.key, async (handle) =>
    success({ blob: await sealGcm(host.token, handle, { prefix: input.header, aad, plaintext }) }),
  )
}

/** The plaintext of a blob; the caller zeroes it. */
const open = (
  host: OpenHost,
  key: MaterialRef,
  input: { readonly blob: Uint8Array; readonly context: Uint8Array },
): Promise<HostReply<Buffer>> => {
  if (findMechanism(key.spec, 'decrypt') === undefined) return Promise.resolve(NOT_IN_TABLE)
  if (input.blob.length < HEADER_BYTES) return Promise.resolve(INVALID_CIPHERTEXT)
  const aad = aadOf(input.blob.subarray(0, HEADER_BYTES), input.context)
  const sealed = input.blob.subarray(HEADER_BYTES)
  return withKey(host, key, async (handle) => {
    const opened = await openGcm(host.token, handle, { sealed, aad }, host.keys.isDeviceSound)
    return opened.ok ? success(opened.plaintext) : INVALID_CIPHERTEXT
  })
}

export const encrypt = (host: OpenHost, instruction: Of<'encrypt'>): Promise<HostReply<Outputs['encrypt']>> =>
  seal(host, instruction, instruction.plaintext.expose())

export const decrypt = async (host: OpenHost, instruction: Of<'decrypt'>): Promise<HostReply<Outputs['decrypt']>> => {
  const opened = await open(host, instruction.key, instruction)
  return opened.ok ? success({ plaintext: new Sensitive(opened.value) }) : opened
}

export const reEncrypt = async (
  host: OpenHost,
  instruction: Of<'reEncrypt'>,
): Promise<HostReply<Outputs['reEncrypt']>> => {
  const { source, destination, sourceContext, blob, header, context } = instruction
  const opened = await open(host, source, { blob, context: sourceContext })
  if (!opened.ok) return opened
  try {
    return await seal(host, { key: destination, header, context }, opened.value)
  } finally {
    opened.value.fill(0)
  }
}

export const generateDataKey = async (
  host: OpenHost,
  instruction: Of<'generateDataKey'>,
): Promise<HostReply<Outputs['generateDataKey']>> => {
  const bytes = randomFrom(host.token, instruction.bytes)
  let isHandedOver = false
  try {
    const sealed = await seal(host, instruction, bytes)
    if (!sealed.ok || !instruction.returnPlaintext) return sealed
    isHandedOver = true
    return success({ blob: sealed.value.blob, plaintext: new Sensitive(bytes) })
  } finally {
    if (!isHandedOver) bytes.fill(0)
  }
}

export const random = async (host: OpenHost, instruction: Of<'random'>): Promise<HostReply<Outputs['random']>> =>
  success({ bytes: new Sensitive(randomFrom(host.token, instruction.bytes)) })
