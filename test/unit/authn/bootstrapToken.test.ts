import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { LIMITS } from '../../../schemas/limits.ts'
import { BOOTSTRAP_PRINCIPAL, createBootstrapToken } from '../../../src/authn/bootstrapToken.ts'
import { createFakeTime } from '../../fixtures/fakeTime.ts'
import { toRawJwt } from '../../fixtures/identityProvider.ts'
import { createTelemetryLog } from '../../fixtures/telemetryLog.ts'

const TOKEN = 'abcdefghijklmnopqrstuvwxyz012345'
const dirs: string[] = []
afterEach(async () => {
  for (const dir of dirs.splice(0)) await rm(dir, { recursive: true, force: true })
})

const open = async (content = `${TOKEN}\n`, mode = 0o600) => {
  const dir = await mkdtemp(join(tmpdir(), 'chatelaine-token-'))
  dirs.push(dir)
  const file = join(dir, 'token')
  await writeFile(file, content)
  await chmod(file, mode)
  const time = createFakeTime()
  const telemetry = createTelemetryLog()
  const authenticator = await createBootstrapToken({
    file,
    principal: BOOTSTRAP_PRINCIPAL,
    expiresAtMs: time.now() + 60_000,
    clock: time,
    scheduler: time,
    telemetry,
  })
  const ask = (authorization?: string) =>
    authenticator.authenticate(authorization === undefined ? {} : { authorization }, AbortSignal.timeout(5_000))
  return { file, time, telemetry, ask }
}

describe('the bootstrap token', () => {
  it('stands for the administrator', async () => {
    const { ask } = await open()
    expect(await ask(`Bearer ${TOKEN}`)).toEqual({
      kind: 'authenticated',
      principal: { id: 'bootstrap', type: 'User', attributes: { roles: ['administrator'] }, method: 'bootstrap_token' },
    })
  })

  it('is refused from its expiry on', async () => {
    const { ask, time } = await open()
    await time.advance(59_999)
    expect((await ask(`Bearer ${TOKEN}`)).kind).toBe('authenticated')
    await time.advance(1)
    expect(await ask(`Bearer ${TOKEN}`)).toEqual({ kind: 'refused', reason: 'expired' })
    expect(await ask(`Bearer ${TOKEN}x`)).toEqual({ kind: 'refused', reason: 'wrong_token' })
  })

  it('is read once: a later change of the file changes nothing', async () => {
    const { ask, file } = await open()
    await writeFile(file, 'another-token-another-token')
    expect((await ask(`Bearer ${TOKEN}`)).kind).toBe('authenticated')
    expect(await ask('Bearer another-token-another-token')).toEqual({ kind: 'refused', reason: 'wrong_token' })
  })

  it('leaves a JWT to others', async () => {
    const { ask } = await open()
    expect(await ask(`Bearer ${toRawJwt({ alg: 'none' }, {})}`)).toEqual({ kind: 'not_mine' })
  })

  it('is warned of at each use, in at most one line an interval', async () => {
    const { ask, time, telemetry } = await open()
    for (let use = 0; use < 5; use += 1) await ask(`Bearer ${TOKEN}`)
    await time.advance(LIMITS.bootstrapWarningIntervalMs * 3)
    await ask('Bearer wrong-token-wrong-token')
    await ask(`Bearer ${TOKEN}`)
    expect(telemetry.lines).toEqual(
      [1, 4, 1].map((uses) => ({
        level: 'warn',
        message: 'the bootstrap token was used',
        fields: { uses, principal: 'bootstrap' },
      })),
    )
  })

  it.each([
    ['empty', ''],
    ['too short', 'a'.repeat(LIMITS.bootstrapTokenBytesMin - 1)],
    ['too long', 'a'.repeat(LIMITS.tokenBytesMax + 1)],
    ['two lines', `${TOKEN}\n${TOKEN}\n`],
    ['with a space', `${TOKEN} ${TOKEN}`],
    ['not ASCII', `${TOKEN}é`],
    ['a JWT', toRawJwt({ alg: 'none' }, { sub: 'x' }, 'AAAA')],
  ])('whose file is %s stops the start, without telling the content', async (_, content) => {
    const error = await open(content).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(Error)
    if (content !== '') expect(String(error)).not.toContain(content.slice(0, 12))
  })

  it('whose file others can read is warned of', async () => {
    const { telemetry } = await open(TOKEN, 0o644)
    expect(telemetry.lines).toEqual([expect.objectContaining({ level: 'warn' })])
  })
})
