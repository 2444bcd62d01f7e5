import { afterEach, describe, expect, it } from 'vitest'
import { LIMITS } from '../../../schemas/limits.ts'
import type { Question, Scheduler } from '../../../src/core/ports.ts'
import { type CedarPdp, createCedar } from '../../../src/pdp/cedar.ts'
import { toQuestion } from '../../contract/pdp.suite.ts'
import { createPolicyFolder, type PolicyFolderFixture } from '../../fixtures/policyFolder.ts'
import { createTelemetryLog } from '../../fixtures/telemetryLog.ts'

const scheduler: Scheduler = {
  after(ms, task) {
    const timer = setTimeout(task, ms)
    timer.unref()
    return () => clearTimeout(timer)
  },
}
const signal = () => AbortSignal.timeout(5_000)
const cleanups: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

const open = async (content: 'starter' | 'schema', files: Readonly<Record<string, string>> = {}) => {
  const folder = await createPolicyFolder(content)
  cleanups.push(folder.dispose)
  for (const [name, text] of Object.entries(files)) await folder.write(name, text)
  return { folder, ...(await start(folder)) }
}
const start = async (folder: PolicyFolderFixture, memoEntriesMax?: number) => {
  const telemetry = createTelemetryLog()
  const loads: { hash: string; policies: number }[] = []
  const pdp = await createCedar({
    policyDir: folder.dir,
    telemetry,
    scheduler,
    onLoaded: (sha256, policies) => loads.push({ hash: Buffer.from(sha256).toString('hex'), policies }),
    ...(memoEntriesMax === undefined ? {} : { memoEntriesMax }),
  })
  cleanups.push(() => pdp.close())
  return { pdp, telemetry, loads }
}
const decide = async (pdp: CedarPdp, question: Question) => (await pdp.decide(question, signal())).decision
const until = async (condition: () => boolean | Promise<boolean>): Promise<void> => {
  const deadline = Date.now() + 8_000
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error('the condition did not come true in time')
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

const PERMIT_ALL = '@id("all")\npermit (principal, action, resource);\n'
const FORBID_ALL = '@id("none")\nforbid (principal, action, resource);\n'

describe('a policy folder at start', () => {
  it('comes into force with its hash, its count of policies and the policy ids as reasons', async () => {
    const { pdp, loads } = await open('schema', { 'all.cedar': PERMIT_ALL })
    expect(loads).toEqual([{ hash: expect.stringMatching(/^[0-9a-f]{64}$/), policies: 1 }])
    expect(await pdp.decide(toQuestion(), signal())).toEqual({
      decision: 'permit',
      pdp: 'cedar',
      policy_version: loads[0]?.hash.slice(0, 16),
      reasons: ['all'],
      obligations: [],
    })
  })

  it('denies everything when it holds no policy', async () => {
    const { pdp } = await open('schema')
    expect(await decide(pdp, toQuestion())).toBe('deny')
  })

  it('names a policy without @id by its file and place, past ten as well', async () => {
    const policies = Array.from({ length: 12 }, (_, n) => `permit (principal == User::"u${n}", action, resource);`)
    const { pdp } = await open('schema', { 'many.cedar': policies.join('\n') })
    for (const n of [0, 2, 10, 11]) {
      const question = toQuestion({ principal: { id: `u${n}`, type: 'User', attributes: {} } })
      expect((await pdp.decide(question, signal())).reasons).toEqual([`many.cedar#${n}`])
    }
  })

  it.each([
    ['broken syntax', { 'bad.cedar': 'permit (principal, action,\nresource' }, /^bad\.cedar:2: /],
    [
      'an attribute the schema lacks',
      { 'bad.cedar': 'permit (principal, action, resource is Key) when { resource.nope };' },
      /^bad\.cedar: .*nope/,
    ],
    ['an unknown action', { 'bad.cedar': 'permit (principal, action == Action::"kms:Fly", resource);' }, /^bad\.cedar/],
    [
      'an attribute used without asking whether it is there',
      { 'bad.cedar': 'permit (principal, action, resource is Key) when { resource.namespace == "x" };' },
      /^bad\.cedar: /,
    ],
    [
      'a tag read without asking whether it is there',
      { 'bad.cedar': 'permit (principal, action, resource is Key) when { resource.user_tags.getTag("a") == "b" };' },
      /^bad\.cedar: /,
    ],
    ['a template', { 'bad.cedar': 'permit (principal == ?principal, action, resource);' }, /^bad\.cedar: .*template/],
    ['one id twice', { 'a.cedar': PERMIT_ALL, 'bad.cedar': PERMIT_ALL }, /^bad\.cedar: .* a\.cedar/],
    ['a broken schema', { 'schema.cedarschema': '\nentity ;' }, /^schema\.cedarschema:2: /],
    ['two schemas', { 'z.cedarschema': 'entity User;' }, /^z\.cedarschema: /],
    ['too many bytes', { 'bad.cedar': `//${'x'.repeat(LIMITS.policyBytesMax)}` }, /^bad\.cedar: .*larger/],
  ])('with %s gives no verdict, is not ready and says which file', async (_, files, reason) => {
    const { pdp, telemetry, loads } = await open('schema', files)
    expect(pdp.isReady()).toBe(false)
    expect(loads).toEqual([])
    await expect(pdp.decide(toQuestion(), signal())).rejects.toThrow('no policy set has loaded')
    expect(telemetry.lines.filter(({ level }) => level === 'error')).toEqual([
      {
        level: 'error',
        message: 'the policy folder does not load',
        fields: expect.objectContaining({ reason: expect.stringMatching(reason) }),
      },
    ])
  })

  it('with too many files gives no verdict', async () => {
    const names = Array.from({ length: LIMITS.policyFilesMax + 1 }, (_, n) => [`p${n}.cedar`, ''])
    const { pdp } = await open('schema', Object.fromEntries(names))
    expect(pdp.isReady()).toBe(false)
  })

  it('that does not exist gives no verdict', async () => {
    const folder = await createPolicyFolder('schema')
    await folder.dispose()
    const { pdp } = await start(folder)
    expect(pdp.isReady()).toBe(false)
  })
})

describe('a policy folder that changes', () => {
  it('comes into force by itself, and no remembered answer outlives its policies', async () => {
    const { pdp, folder, loads } = await open('schema', { 'all.cedar': PERMIT_ALL })
    expect(await decide(pdp, toQuestion())).toBe('permit')
    await folder.write('none.cedar', FORBID_ALL)
    await until(async () => (await decide(pdp, toQuestion())) === 'deny')
    await folder.remove('none.cedar')
    await until(async () => (await decide(pdp, toQuestion())) === 'permit')
    expect(loads.map(({ policies }) => policies)).toEqual([1, 2, 1])
    expect(loads[0]?.hash).toBe(loads[2]?.hash)
    expect(loads[0]?.hash).not.toBe(loads[1]?.hash)
  })

  it('but does not load leaves the last good set in force, says so once, and recovers', async () => {
    const { pdp, folder, telemetry, loads } = await open('schema', { 'all.cedar': PERMIT_ALL })
    await folder.write('bad.cedar', 'permit (')
    await until(() => telemetry.lines.some(({ level }) => level === 'error'))
    expect(await decide(pdp, toQuestion())).toBe('permit')
    expect(pdp.isReady()).toBe(true)
    await folder.write('bad.cedar', FORBID_ALL)
    await until(async () => (await decide(pdp, toQuestion())) === 'deny')
    expect(loads).toHaveLength(2)
    expect(telemetry.lines.filter(({ level }) => level === 'error')).toHaveLength(1)
  })

  it('is not looked at after close', async () => {
    const { pdp, folder, loads } = await open('schema', { 'all.cedar': PERMIT_ALL })
    pdp.close()
    await folder.write('none.cedar', FORBID_ALL)
    await new Promise((resolve) => setTimeout(resolve, LIMITS.policyDebounceMs * 4))
    expect(loads).toHaveLength(1)
    expect(pdp.isReady()).toBe(false)
  })
})

describe('a question', () => {
  const key = (attributes: Record<string, never> | object) =>
    toQuestion({ resource: { type: 'Key', id: 'k', attributes: { exists: true, ...attributes } } })

  it.each([
    ['an unknown principal type', toQuestion({ principal: { id: 'x', type: 'Robot', attributes: {} } })],
    ['an unknown action', toQuestion({ action: 'kms:Fly' })],
    ['an action on the wrong kind of resource', toQuestion({ action: 'kms:ListKeys' })],
    ['an attribute of another type', toQuestion({ principal: { id: 'x', type: 'User', attributes: { tenant: 7 } } })],
    [
      'a list where the schema says text',
      toQuestion({ principal: { id: 'x', type: 'User', attributes: { tenant: ['a'] } } }),
    ],
    ['a record where the schema says text', key({ state: { __entity: { type: 'User', id: 'x' } } })],
  ])('with %s gets no verdict', async (_, question) => {
    const { pdp } = await open('schema', { 'all.cedar': PERMIT_ALL })
    await expect(pdp.decide(question, signal())).rejects.toThrow()
  })

  it('shows policies only what the schema declares, so an undeclared claim changes nothing', async () => {
    const { pdp } = await open('schema', { 'all.cedar': PERMIT_ALL })
    const attributes = { shoe_size: 43, roles: ['x'] }
    expect(await decide(pdp, toQuestion({ principal: { id: 'x', type: 'User', attributes } }))).toBe('permit')
    expect(await decide(pdp, toQuestion({ context: { transport: 'nats', weather: 'fine' } }))).toBe('permit')
  })

  it.each([
    ['text', 'acme', 'acme'],
    ['an integer', 42, '42'],
    ['a bool', true, 'true'],
    ['a list', ['b', 'a'], '["b","a"]'],
    ['a record', { z: 1, a: { y: 'x' } }, '{"a":{"y":"x"},"z":1}'],
  ])('gives an identity tag that is %s as text', async (_, value, text) => {
    const policy = `permit (principal, action, resource is Key) when {
      resource.identity_tags.hasTag("t") && resource.identity_tags.getTag("t") == ${JSON.stringify(text)} };`
    const { pdp } = await open('schema', { 'tag.cedar': policy })
    expect(await decide(pdp, key({ identity_tags: { t: value } }))).toBe('permit')
    expect(await decide(pdp, key({ identity_tags: { t: 'other' } }))).toBe('deny')
    expect(await decide(pdp, key({ user_tags: { t: value } }))).toBe('deny')
  })

  it.each(['__proto__', '__entity', '__extn', 'constructor', ''])(
    'takes a tag named %j as a tag like any other',
    async (name) => {
      const policy = `permit (principal, action, resource is Key) when { resource.user_tags.hasTag(${JSON.stringify(name)}) };`
      const { pdp } = await open('schema', { 'tag.cedar': policy })
      expect(await decide(pdp, key({ user_tags: JSON.parse(`{${JSON.stringify(name)}: "v"}`) }))).toBe('permit')
      expect(await decide(pdp, key({ user_tags: { other: 'v' } }))).toBe('deny')
    },
  )

  it('puts a key in its parent, and in further ancestors where they are named', async () => {
    const policy = 'permit (principal, action, resource in Key::"root");'
    const { pdp } = await open('schema', { 'tree.cedar': policy })
    expect(await decide(pdp, key({ parent: 'root' }))).toBe('permit')
    expect(await decide(pdp, key({ parent: 'mid', ancestors: ['mid', 'root'] }))).toBe('permit')
    expect(await decide(pdp, key({ parent: 'mid' }))).toBe('deny')
  })

  it('is denied when a policy fails to evaluate, whatever the others say', async () => {
    const overflow = `@id("overflow") forbid (principal, action, resource is Key)
      when { resource.size * 9223372036854775807 == 0 };`
    const { pdp, telemetry, folder } = await open('schema')
    pdp.close()
    await folder.write(
      'schema.cedarschema',
      `entity User; entity Key { size: Long };
      action "kms:Encrypt" appliesTo { principal: [User], resource: [Key] };`,
    )
    await folder.write('p.cedar', PERMIT_ALL + overflow)
    const again = await start(folder)
    const verdict = await again.pdp.decide(key({ size: 3 }), signal())
    expect(verdict).toMatchObject({ decision: 'deny', reasons: ['overflow'] })
    expect(again.telemetry.text()).toContain('policies failed to evaluate')
    expect(await decide(again.pdp, key({ size: 1 }))).toBe('permit')
    expect(telemetry.text()).not.toContain('failed to evaluate')
  })

  it('leaves no value of it in an error or the log when it does not fit the schema', async () => {
    const { pdp, telemetry } = await open('schema', { 'all.cedar': PERMIT_ALL })
    const question = toQuestion({
      principal: { id: 'x', type: 'User', attributes: { tenant: ['marker-7f3a'] } },
    })
    const error = await pdp.decide(question, signal()).catch((thrown: unknown) => thrown)
    expect(String(error)).not.toContain('marker-7f3a')
    expect(telemetry.text()).not.toContain('marker-7f3a')
  })
})

describe('the memo', () => {
  it('changes no verdict', async () => {
    const { pdp, folder } = await open('starter')
    const { pdp: plain } = await start(folder, 0)
    for (const tenant of ['acme', 'umbrella', 'acme']) {
      for (const action of ['kms:Encrypt', 'kms:DisableKey']) {
        const attributes = { exists: true, identity_tags: { tenant }, user_tags: {} }
        const question = toQuestion({
          action,
          principal: { id: 'u', type: 'User', attributes: { tenant: 'acme' } },
          resource: { type: 'Key', id: tenant, attributes },
        })
        expect(await pdp.decide(question, signal())).toEqual(await plain.decide(question, signal()))
      }
    }
  })
})
