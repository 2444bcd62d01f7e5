import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import pkcs11 from 'pkcs11js'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { LIMITS } from '../../schemas/limits.ts'
import type { MaterialRef } from '../../src/core/instruction.ts'
import type { Hsm } from '../../src/core/ports.ts'
import { must } from '../../src/core/result.ts'
import { Sensitive } from '../../src/core/sensitive.ts'
import { createHsm, type HsmOptions } from '../../src/hsm/createHsm.ts'
import { findHostPids, isRunning } from '../fixtures/hsmChildren.ts'
import {
  BACKEND,
  calm,
  codeOf,
  decrypt,
  encrypt,
  eventually,
  HEADER,
  makeKey,
  ORIGIN,
  randomLid,
  unwrap,
} from '../fixtures/hsmRequests.ts'
import { createSoftHsm, type SoftHsm } from '../fixtures/softhsm.ts'
import { createTelemetryLog } from '../fixtures/telemetryLog.ts'

describe('an HSM that fails', () => {
  let softHsm: SoftHsm
  let key: MaterialRef
  const open: Hsm[] = []
  const log = createTelemetryLog()

  const start = async (options: Partial<HsmOptions> & { readonly pinFile?: string } = {}): Promise<Hsm> => {
    const { libPath, tokenLabel } = softHsm
    const backends = [{ id: BACKEND, libPath, tokenLabel, pinFile: options.pinFile ?? softHsm.pinFile }]
    const hsm = await createHsm({ origin: ORIGIN, backends, telemetry: log, ...options })
    open.push(hsm)
    return hsm
  }
  const isHealthy = (hsm: Hsm) => (): boolean => hsm.status()[0]?.state === 'HEALTHY'

  beforeAll(async () => {
    softHsm = await createSoftHsm()
    const hsm = await start()
    unwrap(await hsm.createGenesis(BACKEND, calm))
    key = await makeKey(hsm, 'AES_256')
  })
  afterEach(async () => {
    for (const hsm of open.splice(0)) await hsm.close()
    expect(findHostPids()).toEqual([])
  })
  afterAll(() => softHsm[Symbol.asyncDispose]())

  it.each([1, 2])(
    'loses no call and gives no wrong result when a child of %i is killed under load',
    async (processes) => {
      const hsm = await start({ processesPerBackend: processes })
      const codes = new Map<string, number>()
      let isOver = false
      const worker = async (id: number): Promise<void> => {
        for (let i = 0; !isOver; i += 1) {
          const text = `${id}/${i}`
          const sealed = await encrypt(hsm, key, Buffer.from(text))
          const opened = sealed.ok ? await decrypt(hsm, key, sealed.value.blob) : sealed
          if (opened.ok) expect(opened.value.toString()).toBe(text)
          codes.set(codeOf(opened), (codes.get(codeOf(opened)) ?? 0) + 1)
          if (!opened.ok) await new Promise((resolve) => setTimeout(resolve, 5))
        }
      }
      const workers = Array.from({ length: 32 }, (_, id) => worker(id))
      for (let round = 0; round < 3; round += 1) {
        const before = codes.get('OK') ?? 0
        await eventually(() => (codes.get('OK') ?? 0) > before + 200)
        const [victim] = findHostPids()
        must(victim !== undefined, 'a child runs')
        process.kill(victim, 'SIGKILL')
        await eventually(() => !isRunning(victim) && isHealthy(hsm)())
      }
      isOver = true
      await Promise.all(workers)
      expect([...codes.keys()].sort()).toEqual(['HSM_UNAVAILABLE', 'OK'])
    },
  )

  it('ends a child whose call is past its deadline, and answers within it', async () => {
    const hsm = await start({ deadlines: { callMs: 400 } })
    const [hung] = findHostPids()
    must(hung !== undefined, 'a child runs')
    process.kill(hung, 'SIGSTOP')
    const begun = performance.now()
    expect(codeOf(await encrypt(hsm, key, Buffer.from('x')))).toBe('HSM_UNAVAILABLE')
    expect(performance.now() - begun).toBeLessThan(3 * 400)
    expect(hsm.status()).toMatchObject([{ state: 'DOWN', breaker: 'open' }])
    const atOnce = performance.now()
    expect(codeOf(await encrypt(hsm, key, Buffer.from('x')))).toBe('HSM_UNAVAILABLE')
    expect(performance.now() - atOnce).toBeLessThan(100)
    await eventually(isHealthy(hsm))
    expect(isRunning(hung)).toBe(false)
    expect(codeOf(await encrypt(hsm, key, Buffer.from('x')))).toBe('OK')
  })

  it.each(['inline', 'process'] as const)(
    'starts without the token, and takes it when it comes: %s',
    async (placement) => {
      const away = `${softHsm.tokenDirectory}-away`
      await rename(softHsm.tokenDirectory, away)
      spawnSync('mkdir', [softHsm.tokenDirectory])
      const hsm = await start({ placement })
      expect(hsm.status()).toEqual([{ backend: BACKEND, state: 'DOWN', breaker: 'open', queued: 0 }])
      expect(codeOf(await encrypt(hsm, key, Buffer.from('x')))).toBe('HSM_UNAVAILABLE')
      expect(hsm.supports(BACKEND, 'AES_256')).toBe(true)
      spawnSync('rmdir', [softHsm.tokenDirectory])
      await rename(away, softHsm.tokenDirectory)
      await eventually(isHealthy(hsm))
      expect(codeOf(await encrypt(hsm, key, Buffer.from('x')))).toBe('OK')
    },
  )

  it('comes back inline after its sessions were lost', async () => {
    const hsm = await start({ placement: 'inline' })
    const { blob } = unwrap(await encrypt(hsm, key, Buffer.from('before')))
    const other = new pkcs11.PKCS11()
    other.load(softHsm.libPath)
    for (const slot of other.C_GetSlotList(true)) other.C_CloseAllSessions(slot)
    expect(codeOf(await decrypt(hsm, key, blob))).toBe('HSM_UNAVAILABLE')
    await eventually(isHealthy(hsm))
    expect(unwrap(await decrypt(hsm, key, blob)).toString()).toBe('before')
  })

  it('tries a refused PIN once, and again when its source was written', async () => {
    const pinFile = join(softHsm.directory, 'wrong-pin')
    await writeFile(pinFile, 'not-the-pin-4711')
    const hsm = await start({ pinFile })
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    expect(hsm.status()).toMatchObject([{ state: 'DOWN', breaker: 'open' }])
    expect(log.lines.filter((line) => line.fields['reason'] === 'the token refused the PIN')).toHaveLength(1)
    await writeFile(pinFile, softHsm.pin)
    await eventually(isHealthy(hsm))
    expect(log.text()).not.toContain(softHsm.pin)
    expect(log.text()).not.toContain('4711')
  })

  it('reads the PIN from a descriptor at every login, and refuses a pipe', async () => {
    const descriptor = openSync(softHsm.pinFile, 'r')
    const hsm = await start({ pinFile: `/dev/fd/${descriptor}` })
    const [victim] = findHostPids()
    must(victim !== undefined, 'a child runs')
    process.kill(victim, 'SIGKILL')
    await eventually(() => !isRunning(victim) && isHealthy(hsm)())
    closeSync(descriptor)
    const fifo = join(softHsm.directory, 'fifo')
    spawnSync('/usr/bin/mkfifo', [fifo])
    await expect(start({ pinFile: fifo })).rejects.toThrow('not a pipe')
  })

  it('keeps the PIN out of the command line and the environment of its children', async () => {
    await start()
    const [pid] = findHostPids()
    const seen = spawnSync('cat', [`/proc/${pid}/cmdline`, `/proc/${pid}/environ`]).stdout.toString('latin1')
    expect(seen).toContain('child')
    expect(seen).not.toContain(softHsm.pin)
  })

  it('ends a child whose parent is gone', async () => {
    const script = `
      import { createHsm } from '${join(process.cwd(), 'src/hsm/createHsm.ts')}'
      const backend = { id: 'main', libPath: '${softHsm.libPath}', tokenLabel: '${softHsm.tokenLabel}', pinFile: '${softHsm.pinFile}' }
      await createHsm({ origin: '${ORIGIN}', backends: [backend], telemetry: { log: () => undefined } })
      const { readFileSync } = await import('node:fs')
      console.log('children', readFileSync('/proc/self/task/' + process.pid + '/children', 'utf8'))
      setInterval(() => undefined, 1000)
    `
    const file = join(softHsm.directory, 'parent.mts')
    await writeFile(file, script)
    const parent = spawn(process.execPath, ['--import', 'tsx', file], { stdio: ['ignore', 'pipe', 'inherit'] })
    let text = ''
    parent.stdout.on('data', (chunk) => (text += String(chunk)))
    await eventually(() => text.includes('\n'))
    const children = (text.match(/\d+/g) ?? []).map(Number).filter(isRunning)
    expect(children.length).toBeGreaterThan(0)
    parent.kill('SIGKILL')
    await once(parent, 'exit')
    await eventually(() => !children.some(isRunning))
  })

  it('answers OVERLOADED when its queue is full', async () => {
    const hsm = await start()
    const [pid] = findHostPids()
    must(pid !== undefined, 'a child runs')
    process.kill(pid, 'SIGSTOP')
    const waiting = Array.from({ length: LIMITS.hsmQueueMax }, () =>
      hsm.execute({ kind: 'random', backend: BACKEND, bytes: 1 }, AbortSignal.timeout(10_000)),
    )
    expect(hsm.status()[0]?.queued).toBe(LIMITS.hsmQueueMax)
    expect(codeOf(await hsm.execute({ kind: 'random', backend: BACKEND, bytes: 1 }, calm))).toBe('OVERLOADED')
    process.kill(pid, 'SIGCONT')
    expect(new Set((await Promise.all(waiting)).map(codeOf))).toEqual(new Set(['OK']))
    expect(hsm.status()[0]?.queued).toBe(0)
  })

  it("answers TIMEOUT when the caller's deadline passes, and undoes a key that came too late", async () => {
    const hsm = await start()
    const [pid] = findHostPids()
    must(pid !== undefined, 'a child runs')
    const before = unwrap(await hsm.inventory(BACKEND, calm)).length
    process.kill(pid, 'SIGSTOP')
    const lid = randomLid()
    const generate = { kind: 'generateKey', backend: BACKEND, epoch: 1, lid, version: 1, spec: 'AES_256' } as const
    // Past the turn in which it is sent: the child gets it, the caller does not get the result.
    const made = hsm.execute({ ...generate, exportable: false }, AbortSignal.timeout(200))
    expect(codeOf(await made)).toBe('TIMEOUT')
    process.kill(pid, 'SIGCONT')
    await eventually(async () => {
      const listed = unwrap(await hsm.inventory(BACKEND, calm))
      return hsm.status()[0]?.queued === 0 && listed.length === before
    })
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(unwrap(await hsm.inventory(BACKEND, calm)).some((object) => object.lid === lid)).toBe(false)
  })

  it('forgets a destroyed key in every child', async () => {
    const hsm = await start({ processesPerBackend: 2 })
    const doomed = await makeKey(hsm, 'AES_256')
    const sealed = await Promise.all(Array.from({ length: 40 }, () => encrypt(hsm, doomed, Buffer.from('x'))))
    const { blob } = unwrap(sealed[0] ?? { ok: false, error: { code: 'INTERNAL', message: 'none' } })
    unwrap(await hsm.execute({ kind: 'destroyKey', backend: BACKEND, key: doomed }, calm))
    const after = await Promise.all(Array.from({ length: 40 }, () => decrypt(hsm, doomed, blob)))
    expect(new Set(after.map(codeOf))).toEqual(new Set(['KEY_NOT_USABLE']))
  })

  it('notices a child that dies idle, and has another before the next call', async () => {
    const hsm = await start()
    const killed = findHostPids()
    for (const pid of killed) process.kill(pid, 'SIGKILL')
    await eventually(() => findHostPids().some((pid) => !killed.includes(pid)))
    await eventually(isHealthy(hsm))
    unwrap(await hsm.execute({ kind: 'random', backend: BACKEND, bytes: 8 }, calm))
  })

  it('leaves only whole or recognizably half-written objects when killed while it makes keys', async () => {
    const hsm = await start()
    const keys: MaterialRef[] = []
    for (let round = 0; round < 4; round += 1) {
      const making = Array.from({ length: 8 }, async () => {
        const made = await makeKey(hsm, 'ED25519').catch(() => undefined)
        if (made !== undefined) keys.push(made)
      })
      await new Promise((resolve) => setTimeout(resolve, 60 + 90 * round))
      const killed = findHostPids()
      for (const pid of killed) process.kill(pid, 'SIGKILL')
      await Promise.all(making)
      // The parent may not have noticed yet: healthy counts only with a child that was not killed.
      await eventually(() => isHealthy(hsm)() && findHostPids().some((pid) => !killed.includes(pid)))
    }
    const listed = unwrap(await hsm.inventory(BACKEND, calm))
    expect(unwrap(await hsm.findIds(BACKEND, keys, calm))).not.toContain(undefined)
    const halves = listed.filter((object) => !object.complete).map((object) => object.ckaIdHex)
    const destroyable = halves.filter((id) => id !== '')
    unwrap(await hsm.destroyObjects(BACKEND, destroyable, calm))
    expect(unwrap(await hsm.findIds(BACKEND, keys, calm))).not.toContain(undefined)
  })

  it.each(['inline', 'process'] as const)(
    'leaves the caller its plaintext, and zeroes it with the caller, when the HSM fails: %s',
    async (placement) => {
      const hsm = await start({ placement })
      const bytes = Buffer.from('a plaintext that must not stay')
      const plaintext = new Sensitive(bytes)
      const lost: MaterialRef = { ...key, sealedHandle: Buffer.alloc(44) }
      const instruction = {
        kind: 'encrypt',
        backend: BACKEND,
        key: lost,
        header: HEADER,
        context: HEADER,
        plaintext,
      } as const
      expect(codeOf(await hsm.execute(instruction, calm))).toBe('KEY_NOT_USABLE')
      expect(bytes.toString()).toContain('plaintext')
      plaintext[Symbol.dispose]()
      expect(bytes).toEqual(Buffer.alloc(bytes.length))
    },
  )

  it('does not read a plaintext that its caller disposed before it was sent', async () => {
    const hsm = await start()
    const controller = new AbortController()
    const plaintext = new Sensitive(Buffer.from('short-lived'))
    const instruction = { kind: 'encrypt', backend: BACKEND, key, header: HEADER, context: HEADER, plaintext } as const
    const done = hsm.execute(instruction, controller.signal)
    controller.abort()
    plaintext[Symbol.dispose]()
    expect(codeOf(await done)).toBe('CANCELLED')
    expect(codeOf(await encrypt(hsm, key, Buffer.from('next')))).toBe('OK')
  })
})
