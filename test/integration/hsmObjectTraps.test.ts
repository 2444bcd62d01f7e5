import { randomBytes } from 'node:crypto'
import pkcs11 from 'pkcs11js'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { must } from '../../src/core/result.ts'
import { Sensitive } from '../../src/core/sensitive.ts'
import { createHsmHost } from '../../src/hsm/host.ts'
import { isOutputOf } from '../../src/hsm/hostRequest.ts'
import { createLibraries, type Library } from '../../src/hsm/library.ts'
import { toHandleKeyLabel, toLedgerRootLabel, toMaterialLabel } from '../../src/hsm/material.ts'
import { readPin } from '../../src/hsm/pin.ts'
import { isCkr } from '../../src/hsm/pkcs11Failure.ts'
import { openToken, type Token } from '../../src/hsm/token.ts'
import { BACKEND, ORIGIN, randomLid } from '../fixtures/hsmRequests.ts'
import { openSoftHsmToken, toHostConfig } from '../fixtures/softHsmToken.ts'
import type { SoftHsm } from '../fixtures/softhsm.ts'

const NONE = new Uint8Array(0)

/** What SoftHSM does with objects and sessions, and how a host on it lives with that. */
describe('PKCS#11 objects and sessions on SoftHSM', () => {
  let softHsm: SoftHsm
  let library: Library
  let token: Token
  let lib: pkcs11.PKCS11

  beforeAll(async () => {
    ;({ softHsm, library, token, lib } = await openSoftHsmToken())
  })
  afterAll(async () => {
    token.close()
    await softHsm[Symbol.asyncDispose]()
  })

  /** A key of somebody's own under one of our labels. */
  const plant = (label: string, idByte: number): Buffer =>
    lib.C_CreateObject(token.keeper, [
      { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
      { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_AES },
      { type: pkcs11.CKA_TOKEN, value: true },
      { type: pkcs11.CKA_LABEL, value: label },
      { type: pkcs11.CKA_ID, value: Buffer.alloc(16, idByte) },
      { type: pkcs11.CKA_VALUE, value: randomBytes(32) },
    ])

  it('looks nothing up on the hot path', async () => {
    const host = createHsmHost(toHostConfig(softHsm), { use: () => library })
    await host.open()
    await host.run({ kind: 'createGenesis' })
    const lid = randomLid()
    const generate = { kind: 'generateKey', backend: BACKEND, epoch: 1, lid, version: 1, exportable: false } as const
    const made = await host.run({ ...generate, spec: 'AES_256' })
    must(made.ok && isOutputOf('generateKey', made.value), 'a key was made')
    const { sealedHandle } = made.value
    using plaintext = new Sensitive(Buffer.alloc(100))
    const encrypt = {
      kind: 'encrypt',
      backend: BACKEND,
      key: { lid, version: 1, spec: 'AES_256', sealedHandle },
      header: Buffer.alloc(80),
      context: NONE,
      plaintext,
    } as const
    const find = vi.spyOn(lib, 'C_FindObjectsInit')
    const copy = vi.spyOn(lib, 'C_CopyObject')
    await Promise.all(Array.from({ length: 50 }, () => host.run(encrypt)))
    expect(find).toHaveBeenCalledTimes(1)
    expect(copy).toHaveBeenCalledTimes(1)
    for (let i = 0; i < 50; i += 1) expect((await host.run(encrypt)).ok).toBe(true)
    expect(find).toHaveBeenCalledTimes(1)
    find.mockRestore()
    copy.mockRestore()
    host.close()
  })

  it('makes material private, sensitive and not extractable, and leaves no public object on the token', async () => {
    const host = createHsmHost(toHostConfig(softHsm), createLibraries())
    await host.open()
    const lid = randomLid()
    const generate = { kind: 'generateKey', backend: BACKEND, epoch: 4, lid, version: 9 } as const
    await host.run({ ...generate, spec: 'ECDSA_P256', exportable: false })
    await host.run({ ...generate, version: 10, spec: 'AES_256', exportable: true })
    const read = (label: string): readonly (readonly (number | undefined)[])[] => {
      lib.C_FindObjectsInit(token.keeper, [{ type: pkcs11.CKA_LABEL, value: label }])
      const found = lib.C_FindObjects(token.keeper, 10)
      lib.C_FindObjectsFinal(token.keeper)
      const wanted = [pkcs11.CKA_TOKEN, pkcs11.CKA_PRIVATE, pkcs11.CKA_SENSITIVE, pkcs11.CKA_EXTRACTABLE]
      return found.map((object) =>
        wanted.map((type) => {
          const value = lib.C_GetAttributeValue(token.keeper, object, [{ type }])[0]?.value
          return Buffer.isBuffer(value) ? value[0] : undefined
        }),
      )
    }
    expect(read(toMaterialLabel(ORIGIN, { epoch: 4, lid, version: 9 }))).toEqual([[1, 1, 1, 0]])
    expect(read(toMaterialLabel(ORIGIN, { epoch: 4, lid, version: 10 }))).toEqual([[1, 1, 1, 1]])
    host.close()
  })

  it('reports a half-written object as not complete, and does not use it', async () => {
    const lid = randomLid()
    const label = toMaterialLabel(ORIGIN, { epoch: 2, lid, version: 1 })
    const planted = plant(label, 0x0f)
    const read = lib.C_GetAttributeValue.bind(lib)
    // What a kill between the object's creation and its value leaves: CKA_LOCAL not set yet, CKA_NEVER_EXTRACTABLE still.
    const spy = vi.spyOn(lib, 'C_GetAttributeValue').mockImplementation((session, object, template) => {
      const isAsked = object.equals(planted) && template.some(({ type }) => type === pkcs11.CKA_NEVER_EXTRACTABLE)
      return isAsked ? [{ type: pkcs11.CKA_NEVER_EXTRACTABLE, value: Buffer.of(1) }] : read(session, object, template)
    })
    const host = createHsmHost(toHostConfig(softHsm), { use: () => library })
    await host.open()
    expect(await host.run({ kind: 'inventory' })).toMatchObject({
      ok: true,
      value: expect.arrayContaining([expect.objectContaining({ label, lid, complete: false, imported: false })]),
    })
    spy.mockRestore()
    expect(await host.run({ kind: 'destroyObjects', ckaIdsHex: ['0f'.repeat(16)] })).toEqual({ ok: true, value: 1 })
    host.close()
  })

  it('takes an object that the token did not generate for an imported one, never for one of its own', async () => {
    const lid = randomLid()
    const label = toMaterialLabel(ORIGIN, { epoch: 2, lid, version: 1 })
    plant(label, 0x0e)
    const host = createHsmHost(toHostConfig(softHsm), createLibraries())
    await host.open()
    expect(await host.run({ kind: 'inventory' })).toMatchObject({
      ok: true,
      value: expect.arrayContaining([expect.objectContaining({ label, lid, complete: true, imported: true })]),
    })
    expect(await host.run({ kind: 'destroyObjects', ckaIdsHex: ['0e'.repeat(16)] })).toEqual({ ok: true, value: 1 })
    host.close()
  })

  it('takes no root to come that the token could once give away, nor a public half without a private one', async () => {
    const host = createHsmHost(toHostConfig(softHsm), createLibraries())
    await host.open()
    const listed = await host.run({ kind: 'listRoots' })
    must(listed.ok && isOutputOf('listRoots', listed.value), 'the roots are listed')
    const known = listed.value
    const ed25519 = Buffer.from('06032b6570', 'hex')
    const named = (idByte: number) => [
      { type: pkcs11.CKA_TOKEN, value: true },
      { type: pkcs11.CKA_LABEL, value: toLedgerRootLabel(ORIGIN) },
      { type: pkcs11.CKA_ID, value: Buffer.alloc(16, idByte) },
    ]
    const make = (idByte: number) =>
      lib.C_GenerateKeyPair(
        token.keeper,
        { mechanism: 0x1055 },
        [...named(idByte), { type: pkcs11.CKA_EC_PARAMS, value: ed25519 }, { type: pkcs11.CKA_VERIFY, value: true }],
        [
          ...named(idByte),
          { type: pkcs11.CKA_PRIVATE, value: true },
          { type: pkcs11.CKA_SENSITIVE, value: true },
          { type: pkcs11.CKA_SIGN, value: true },
          { type: pkcs11.CKA_EXTRACTABLE, value: idByte === 0x2a },
        ],
      )
    const extractable = make(0x2a)
    const halved = make(0x2b)
    lib.C_DestroyObject(token.keeper, halved.privateKey)
    const made = await host.run({ kind: 'createNextRoot', known })
    must(made.ok && isOutputOf('createNextRoot', made.value), 'a root is made')
    const next = made.value
    expect(await host.run({ kind: 'createNextRoot', known })).toEqual({ ok: true, value: next })
    const now = await host.run({ kind: 'listRoots' })
    must(now.ok && isOutputOf('listRoots', now.value), 'the roots are listed')
    // What was planted is there still, and is not the one that was made.
    expect(now.value).toHaveLength(known.length + 2)
    expect(() => lib.C_GetAttributeValue(token.keeper, halved.publicKey, [{ type: pkcs11.CKA_LABEL }])).toThrow()
    expect(await host.run({ kind: 'destroyRoot', root: next })).toEqual({ ok: true, value: true })
    lib.C_DestroyObject(token.keeper, extractable.privateKey)
    lib.C_DestroyObject(token.keeper, extractable.publicKey)
    host.close()
  })

  it('trusts no handle key when somebody planted a second one', async () => {
    const host = createHsmHost(toHostConfig(softHsm), createLibraries())
    expect(await host.open()).toMatchObject({ ok: true, value: { handleKey: true } })
    const planted = lib.C_GenerateKey(token.keeper, { mechanism: pkcs11.CKM_AES_KEY_GEN }, [
      { type: pkcs11.CKA_TOKEN, value: true },
      { type: pkcs11.CKA_LABEL, value: toHandleKeyLabel(ORIGIN) },
      { type: pkcs11.CKA_VALUE_LEN, value: 32 },
    ])
    expect(await host.run({ kind: 'forget' })).toEqual({ ok: true, value: { handleKey: false } })
    const message = Buffer.from('chatelaine/epoch/v1\0')
    expect(await host.run({ kind: 'signAsRoot', root: Buffer.alloc(32, 9), message })).toMatchObject({
      ok: false,
      code: 'HSM_UNAVAILABLE',
    })
    lib.C_DestroyObject(token.keeper, planted)
    expect(await host.run({ kind: 'forget' })).toEqual({ ok: true, value: { handleKey: true } })
    host.close()
  })

  it('says that the device failed when its sessions are gone, never that the bytes are wrong', async () => {
    const slot = lib.C_GetSlotList(true)[0] ?? Buffer.alloc(0)
    const host = createHsmHost(toHostConfig(softHsm), createLibraries())
    await host.open()
    lib.C_CloseAllSessions(slot)
    expect(await host.run({ kind: 'random', backend: BACKEND, bytes: 8 })).toMatchObject({
      ok: false,
      code: 'HSM_UNAVAILABLE',
      device: true,
    })
    expect(await host.open()).toMatchObject({ ok: true })
    expect(await host.run({ kind: 'random', backend: BACKEND, bytes: 8 })).toMatchObject({ ok: true })
    host.close()
    let thrown: unknown
    try {
      lib.C_GenerateRandom(token.keeper, Buffer.alloc(8))
    } catch (error) {
      thrown = error
    }
    expect(isCkr(thrown, pkcs11.CKR_SESSION_HANDLE_INVALID, pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED)).toBe(true)
    token = openToken(library, softHsm.tokenLabel, () => readPin(softHsm.pinFile))
  })
})
