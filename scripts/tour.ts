import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findPlace, type ServiceProcess, startServiceProcess } from './serviceProcess.ts'
import { createGuide, type Guide, readField, Surprise } from './tourGuide.ts'

/** What later chapters need of earlier ones. */
interface Memory {
  readonly dir: string
  key: string
  root: string
  grandchild: string
  encryptedAt: number
}

const FORBID_DECRYPT = `// Nobody decrypts anything, whoever they are: one forbid outweighs every permit.
@id("tour.nothing-is-decrypted")
forbid (principal, action == Action::"kms:Decrypt", resource is Key);
`

const showKeys = async (guide: Guide, memory: Memory): Promise<void> => {
  guide.chapter(
    'Make a key',
    'Its material is made inside the HSM (here: SoftHSM) and cannot be read out. What comes back is metadata,',
    'and a receipt: where the record of this very request stands in the ledger.',
  )
  const created = await guide.run("chatelaine create-key --key-spec AES_256 --description 'orders database'", {
    show: ['key_id', 'key_spec', 'state', 'seq', 'hash'],
  })
  memory.key = readField(created, 'key_id')

  guide.chapter(
    'Encrypt',
    'Up to 64 KiB go to the HSM and come back as a blob that names its key. The encryption context is authenticated',
    'with it; the ledger holds only a keyed hash of it.',
  )
  const encrypted = await guide.run(
    `chatelaine encrypt ${memory.key} --plaintext 'four ripe pears' --encryption-context order=17 --out order.bin`,
    { show: ['key_version', 'seq'] },
  )
  memory.encryptedAt = Number(readField(encrypted, 'seq'))

  guide.chapter('Decrypt', 'The blob names its key. Without the same context it is worth nothing.')
  await guide.run('chatelaine decrypt --ciphertext-blob-file order.bin --encryption-context order=17', {
    says: /^plaintext: four ripe pears$/m,
    show: ['plaintext', 'key_version'],
  })
  await guide.run('chatelaine decrypt --ciphertext-blob-file order.bin --encryption-context order=18', {
    code: 1,
    says: /INVALID_CIPHERTEXT/,
  })
}

const showSignatures = async (guide: Guide): Promise<void> => {
  guide.chapter('Sign', 'Other keys sign. The public half leaves, the private half never does.')
  const created = await guide.run('chatelaine create-key --key-spec ED25519', { show: ['key_id', 'key_usage'] })
  const key = readField(created, 'key_id')
  await guide.run(`chatelaine sign ${key} --message 'deliver at noon' --out order.sig`, {
    show: ['signing_algorithm', 'seq'],
  })

  guide.chapter('Verify a signature')
  await guide.run(`chatelaine verify ${key} --message 'deliver at noon' --signature-file order.sig`, {
    says: /^signature_valid: true$/m,
    show: ['signature_valid'],
  })
  await guide.run(`chatelaine verify ${key} --message 'deliver at nine' --signature-file order.sig`, {
    says: /^signature_valid: false$/m,
    show: ['signature_valid'],
  })
}

const showDataKey = async (guide: Guide, memory: Memory): Promise<void> => {
  guide.chapter(
    'Take a data key',
    'For more than 64 KiB: encrypt locally with the plain copy, forget it, keep the encrypted copy beside the data.',
  )
  await guide.run(
    `chatelaine generate-data-key ${memory.key} --plaintext-data-key-out data.key --encrypted-data-key-out data.key.enc`,
    { show: ['key_version', 'seq'] },
  )
  await guide.run('chatelaine decrypt --ciphertext-blob-file data.key.enc --out again.key && cmp data.key again.key', {
    show: ['key_version'],
  })
  guide.note('The decrypted copy is the same key.')
}

const showDenials = async (guide: Guide, memory: Memory): Promise<void> => {
  guide.chapter(
    'Be refused',
    'Without a valid token nothing happens. With one, Cedar policies decide; here a policy file is dropped into the',
    'folder of the running service.',
  )
  await writeFile(join(memory.dir, 'wrong.token'), 'not-the-token-of-this-service\n')
  await guide.run(`chatelaine describe-key ${memory.key} --token-file wrong.token`, {
    code: 1,
    says: /UNAUTHENTICATED/,
  })

  const policy = join(memory.dir, 'data/policies/tour.cedar')
  const decrypt = 'chatelaine decrypt --ciphertext-blob-file order.bin --encryption-context order=17'
  await writeFile(policy, FORBID_DECRYPT)
  guide.note('')
  guide.note('policies/tour.cedar:')
  for (const line of FORBID_DECRYPT.trim().split('\n')) guide.note(`| ${line}`)
  await guide.waitFor(decrypt, { code: 1, says: /ACCESS_DENIED/ })
  await guide.run(decrypt, { code: 1, says: /ACCESS_DENIED/ })
  await rm(policy)
  await guide.waitFor(decrypt, {})
  guide.note('The policy is taken away again, and decryption is back. Both changes and each denial are in the ledger.')
}

const showCascade = async (guide: Guide, memory: Memory): Promise<void> => {
  guide.chapter(
    'Lock out a whole branch',
    'Keys can have a parent. A key works only while it and all its ancestors do.',
  )
  const create = async (parent: string) => {
    const flags = parent === '' ? '--description root' : `--parent-key-id ${parent}`
    const answer = await guide.run(`chatelaine create-key --key-spec AES_256 ${flags}`, { show: ['key_id'] })
    return readField(answer, 'key_id')
  }
  memory.root = await create('')
  memory.grandchild = await create(await create(memory.root))
  await guide.run(`chatelaine encrypt ${memory.grandchild} --plaintext works --out branch.bin`, {
    show: ['key_version'],
  })
  await guide.run(`chatelaine disable-key ${memory.root}`, {
    says: /^affected_descendants: 2$/m,
    show: ['state', 'affected_descendants'],
  })
  await guide.run('chatelaine decrypt --ciphertext-blob-file branch.bin', { code: 1, says: /KEY_NOT_USABLE/ })
  await checkLocked(guide, memory)
}

const checkLocked = async (guide: Guide, { root, grandchild }: Memory): Promise<void> => {
  const described = await guide.run(`chatelaine describe-key ${grandchild}`, {
    show: ['state', 'effective_state', 'locked_by'],
  })
  guide.check(readField(described, 'effective_state') === 'disabled', 'the grandchild is not locked out')
  guide.check(readField(described, 'locked_by') === root, 'the grandchild is not locked by the root')
}

const showRebuild = async (guide: Guide, memory: Memory): Promise<void> => {
  guide.note('Everything is as it was: the keys, who is locked, and the ciphertext still opens.')
  const all = await guide.run('chatelaine list-keys', { show: [] })
  const count = all.match(/^ {2}- key_id: /gm)?.length
  guide.note(`${count} keys`)
  guide.check(count === 5, `there are ${count} keys after the restart, not 5`)
  await checkLocked(guide, memory)
  await guide.run('chatelaine decrypt --ciphertext-blob-file order.bin --encryption-context order=17', {
    says: /^plaintext: four ripe pears$/m,
    show: ['plaintext'],
  })
}

const showLedger = async (guide: Guide, memory: Memory): Promise<void> => {
  guide.chapter(
    'Verify the ledger',
    'Every request above, the refused ones too, is in a chain of signed commits. The verifier asks neither service nor',
    'HSM: it has the root public key and the newest head that this machine remembers.',
  )
  const verify = 'chatelaine ledger verify'
  await guide.waitFor(verify, { says: /^ok to \d+, anchored by head file$/m })
  await guide.run(verify, { says: /^ok to \d+, anchored by head file$/m })

  guide.chapter(
    'Catch a forger',
    `In a copy of an auditor's export one bit is flipped, in commit ${memory.encryptedAt}: the record of the first encryption.`,
  )
  await guide.run('chatelaine ledger export --out ledger.jsonl')
  await guide.run('chatelaine ledger verify --file ledger.jsonl --head-file data/head.json', {
    says: /^ok to \d+, anchored by head file$/m,
  })
  const lines = (await readFile(join(memory.dir, 'ledger.jsonl'), 'utf8')).split('\n')
  const forged = lines.map((line, at) => (at === memory.encryptedAt - 1 ? flipBit(line) : line))
  await writeFile(join(memory.dir, 'forged.jsonl'), forged.join('\n'))
  await guide.run('chatelaine ledger verify --file forged.jsonl --head-file data/head.json', {
    code: 2,
    says: new RegExp(`^FAIL at ${memory.encryptedAt}:`, 'm'),
  })
}

/** Flips the lowest bit in the middle of an export line's message. */
const flipBit = (line: string): string =>
  line.replace(/"message":"([^"]+)"/, (_member, text: string) => {
    const message = Buffer.from(text, 'base64')
    const at = message.length >> 1
    message.writeUInt8(message.readUInt8(at) ^ 1, at)
    return `"message":"${message.toString('base64')}"`
  })

const run = async (dir: string): Promise<void> => {
  const place = await findPlace(join(dir, 'data'))
  const guide = createGuide(place, dir, (line) => console.log(line))
  const memory: Memory = { dir, key: '', root: '', grandchild: '', encryptedAt: 0 }
  console.log(`A service of its own: NATS on ${place.KMS_NATS_PORT}, REST on ${place.KMS_HTTP_PORT}, data in ${dir}`)
  let service: ServiceProcess | undefined
  const endEarly = async () => {
    await service?.stop().catch(() => undefined)
    await rm(dir, { recursive: true, force: true })
    process.exit(1)
  }
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, endEarly)
  service = await startServiceProcess(place)
  try {
    await showKeys(guide, memory)
    await showSignatures(guide)
    await showDataKey(guide, memory)
    await showDenials(guide, memory)
    await showCascade(guide, memory)

    guide.chapter('Restart', 'There is no database. Every view is folded again from the ledger, verified on the way.')
    const stopping = service
    service = undefined
    await stopping.stop()
    service = await startServiceProcess(place)
    await showRebuild(guide, memory)
    await showLedger(guide, memory)
  } finally {
    await service?.stop()
  }
}

/** Ends with 0 only if everything was as told. */
const main = async (): Promise<void> => {
  const dir = await mkdtemp(join(tmpdir(), 'kms-tour-'))
  try {
    await run(dir)
    console.log('\nThat was all of it, and nothing was a surprise. Start your own: npm start')
  } catch (error) {
    process.exitCode = 1
    console.error(error instanceof Surprise ? `\nA surprise: ${error.message}` : error)
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

await main()
