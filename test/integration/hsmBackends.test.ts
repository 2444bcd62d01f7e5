import { execFile } from 'node:child_process'
import { copyFile, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import pkcs11 from 'pkcs11js'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import type { TokenPlace } from '../../src/core/instruction.ts'
import type { Hsm } from '../../src/core/ports.ts'
import { createHsm, type HsmOptions } from '../../src/hsm/createHsm.ts'
import { findHostPids } from '../fixtures/hsmChildren.ts'
import {
  BACKEND,
  calm,
  codeOf,
  decrypt,
  encrypt,
  eventually,
  makeKey,
  ORIGIN,
  unwrap,
} from '../fixtures/hsmRequests.ts'
import { createSoftHsm, type SoftHsm } from '../fixtures/softhsm.ts'
import { createTelemetryLog } from '../fixtures/telemetryLog.ts'

const run = promisify(execFile)

/** What only real tokens can show of several backends; the rest is in the contract suite. */
describe('several backends on SoftHSM', () => {
  let softHsm: SoftHsm
  let pinDir: string
  let sameLibrary: string
  const open: Hsm[] = []
  const log = createTelemetryLog()

  const start = async (options: Partial<HsmOptions> = {}): Promise<Hsm> => {
    const { libPath, pinFile } = softHsm
    const hsm = await createHsm({
      origin: ORIGIN,
      backends: [{ id: BACKEND, libPath, tokenLabel: 'first', pinFile }],
      runtime: { allowedLibraries: [libPath, sameLibrary], pinDir },
      telemetry: log,
      ...options,
    })
    open.push(hsm)
    unwrap(await hsm.createGenesis(BACKEND, calm))
    return hsm
  }
  /** An instance of the library has its methods from when it was loaded, so the spy comes first. */
  const startWatched = async () => {
    const login = vi.spyOn(pkcs11.PKCS11.prototype, 'C_Login')
    const hsm = await start({ placement: 'inline' })
    expect(login).toHaveBeenCalled()
    login.mockClear()
    return { hsm, login }
  }
  const place = (tokenLabel: string, more: Partial<TokenPlace> = {}): TokenPlace => ({
    libPath: softHsm.libPath,
    tokenLabel,
    pinRef: 'right',
    ...more,
  })
  const stateOf = (hsm: Hsm, id: string) => hsm.status().find(({ backend }) => backend === id)?.state
  const openNew = (hsm: Hsm, backend: string, connection: TokenPlace) =>
    hsm.execute({ kind: 'openBackend', backend, connection }, calm)

  beforeAll(async () => {
    softHsm = await createSoftHsm({ tokenLabels: ['first', 'second'] })
    pinDir = join(softHsm.directory, 'pins')
    sameLibrary = join(softHsm.directory, 'copy-of-the-library.so')
    await mkdir(pinDir)
    await copyFile(softHsm.libPath, sameLibrary)
    await writeFile(join(pinDir, 'right'), softHsm.pin)
    await writeFile(join(pinDir, 'wrong'), 'not the PIN')
    await mkdir(join(pinDir, 'directory'))
  })
  afterEach(async () => {
    vi.restoreAllMocks()
    for (const hsm of open.splice(0)) await hsm.close()
    expect(findHostPids()).toEqual([])
  })
  afterAll(() => softHsm[Symbol.asyncDispose]())

  it('knows a token again by its serial number, whatever library leads to it', async () => {
    const hsm = await start()
    expect(codeOf(await openNew(hsm, 'again', place('first', { libPath: sameLibrary })))).toBe('ALREADY_EXISTS')
    expect(stateOf(hsm, 'again')).toBeUndefined()
    unwrap(await openNew(hsm, 'other', place('second', { libPath: sameLibrary })))
    expect([stateOf(hsm, BACKEND), stateOf(hsm, 'other')]).toEqual(['HEALTHY', 'HEALTHY'])
  })

  it('tries a PIN that a token refused only once, however often it is asked to', async () => {
    const { hsm, login } = await startWatched()
    for (let round = 0; round < 3; round += 1)
      expect(codeOf(await openNew(hsm, 'other', place('second', { pinRef: 'wrong' })))).toBe('HSM_UNAVAILABLE')
    expect(login.mock.calls).toHaveLength(1)
    expect(codeOf(await openNew(hsm, 'other', place('second')))).toBe('OK')
    expect(stateOf(hsm, BACKEND)).toBe('HEALTHY')
  })

  it('tries no PIN at all on the token of another backend', async () => {
    const { hsm, login } = await startWatched()
    expect(codeOf(await openNew(hsm, 'other', place('first', { pinRef: 'wrong' })))).toBe('ALREADY_EXISTS')
    expect(login).not.toHaveBeenCalled()
  })

  it('refuses a PIN that is no regular file, and waits for one that is not there yet', async () => {
    const hsm = await start()
    expect(codeOf(await openNew(hsm, 'other', place('second', { pinRef: 'directory' })))).toBe('INVALID_REQUEST')
    unwrap(await hsm.openBackend('other', place('second', { pinRef: 'later' })))
    expect(stateOf(hsm, 'other')).toBe('DOWN')
    await writeFile(join(pinDir, 'later'), softHsm.pin)
    await eventually(async () => (await hsm.createHandleKey('other', calm)).ok)
    await rm(join(pinDir, 'later'))
  })

  it('starts without a backend that hangs, which only its own keys wait for', async () => {
    const hanging = join(softHsm.directory, 'hanging-library.so')
    // Nobody ever writes to it, so whoever opens it to load it waits.
    await run('mkfifo', [hanging])
    const { libPath, pinFile } = softHsm
    const hsm = await start({
      backends: [
        { id: BACKEND, libPath, tokenLabel: 'first', pinFile },
        { id: 'hung', libPath: hanging, tokenLabel: 'any', pinFile },
      ],
      awaited: BACKEND,
    })
    expect(hsm.status().map(({ backend, state }) => [backend, state])).toEqual([
      [BACKEND, 'HEALTHY'],
      ['hung', 'DOWN'],
    ])
    // At the deadline of its start it would have been ended.
    expect(findHostPids()).toHaveLength(2)
    expect(codeOf(await hsm.execute({ kind: 'random', backend: 'hung', bytes: 8 }, calm))).toBe('HSM_UNAVAILABLE')
    const key = await makeKey(hsm, 'AES_256')
    const { blob } = unwrap(await encrypt(hsm, key, Buffer.from('here')))
    expect(unwrap(await decrypt(hsm, key, blob)).toString()).toBe('here')
  })

  it('fails the calls of a token that went away, and no other; it is back by itself', async () => {
    const hsm = await start()
    const hostsOfFirst = findHostPids()
    unwrap(await openNew(hsm, 'other', place('second')))
    const [hostOfSecond] = findHostPids().filter((pid) => !hostsOfFirst.includes(pid))
    const here = await makeKey(hsm, 'AES_256')
    const { blob } = unwrap(await encrypt(hsm, here, Buffer.from('here')))
    const away = await hideToken(softHsm, 'second')
    process.kill(hostOfSecond ?? 0, 'SIGKILL')
    await eventually(() => stateOf(hsm, 'other') === 'DOWN')
    const random = { kind: 'random', backend: 'other', bytes: 8 } as const
    for (let round = 0; round < 50; round += 1) {
      expect(codeOf(await hsm.execute(random, calm))).toBe('HSM_UNAVAILABLE')
      expect(unwrap(await decrypt(hsm, here, blob)).toString()).toBe('here')
    }
    await away.bringBack()
    await eventually(() => stateOf(hsm, 'other') === 'HEALTHY')
    const drawn = unwrap(await hsm.execute(random, calm))
    drawn.bytes[Symbol.dispose]()
  })
})

/** Moves one token out of SoftHSM's sight: the directory whose files have its label. */
const hideToken = async (
  { tokenDirectory, directory }: SoftHsm,
  label: string,
): Promise<{ bringBack(): Promise<void> }> => {
  const names = await readdir(tokenDirectory)
  const contents = await Promise.all(names.map((name) => readFile(join(tokenDirectory, name, 'token.object'))))
  const name = names[contents.findIndex((bytes) => bytes.includes(label))]
  if (name === undefined) throw new Error(`no directory of token ${label}`)
  await rename(join(tokenDirectory, name), join(directory, name))
  return { bringBack: () => rename(join(directory, name), join(tokenDirectory, name)) }
}
