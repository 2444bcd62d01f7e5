import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Stack, startStack } from '../fixtures/stack.ts'
import { runStackCli } from '../fixtures/stackCli.ts'
import { connectAs, openClients } from '../fixtures/stackClients.ts'

let stack: Stack
beforeAll(async () => {
  stack = await startStack()
})
afterAll(() => stack?.[Symbol.asyncDispose]())

const cli = (...args: readonly string[]) => runStackCli(stack, args)

describe('ledger recover', () => {
  test('has nothing to do on a whole ledger, and does nothing while the service writes', async () => {
    expect(await cli('ledger', 'recover', '--reason', 'none', '--yes')).toMatchObject({ code: 1 })
  })

  test('shows what it would give up, writes it only with --yes, and the service starts again', async () => {
    await using clients = await openClients(stack)
    const { key } = await clients.rest.createKey({ key_spec: 'AES_256' })
    await stack.kill()
    const connection = await connectAs(stack, 'kms-ledger')
    await connection.request('kms.ledger.usage', 'not a commit', { timeout: 5_000 })
    await connection.close()
    const shown = await cli('ledger', 'recover', '--reason', 'a bad disk')
    expect(shown).toMatchObject({ code: 0, stderr: '' })
    expect(shown.stdout).toMatch(/sequences (\d+) to \1 are given up/)
    expect(shown.stdout).toContain('nothing was written')
    const head: { size: number; hash: string } = JSON.parse(await readFile(join(stack.dataDir, 'head.json'), 'utf8'))
    await writeFile(join(stack.dataDir, 'head.json'), `${JSON.stringify({ ...head, size: head.size + 9 })}\n`)
    const refused = await cli('ledger', 'recover', '--reason', 'a bad disk', '--yes')
    expect(refused.code).toBe(1)
    const lost = `${head.size + 9}:${head.hash}`
    expect(refused.stderr).toContain(`--lost ${lost}`)
    const done = await cli('ledger', 'recover', '--reason', 'a bad disk', '--lost', lost, '--yes')
    expect(done).toMatchObject({ code: 0, stderr: '' })
    await stack.restart()
    expect((await clients.rest.describeKey({ key_id: key.key_id })).key.key_id).toBe(key.key_id)
    const verified = await cli('ledger', 'verify')
    expect(verified.code).toBeLessThanOrEqual(1)
    expect(verified.stdout).toMatch(/recovered (\d+)\.\.\1: "a bad disk"/)
  })
})
