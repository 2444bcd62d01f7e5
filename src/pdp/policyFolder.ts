import { createHash } from 'node:crypto'
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { LIMITS } from '../../schemas/limits.ts'

/** One policy or schema file as it stands in the folder. */
export interface PolicyFile {
  readonly name: string
  readonly bytes: Uint8Array
}

/** All that counts in a policy folder, sorted by name, and the hash that names it. */
export interface PolicyFolder {
  readonly files: readonly PolicyFile[]
  readonly sha256: Uint8Array
}

const DOMAIN = 'chatelaine/policy-set/v1'

const isPolicyFile = (name: string): boolean => !name.startsWith('.') && /\.(cedar|cedarschema)$/.test(name)

const u32 = (value: number): Uint8Array => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}

/** SHA-256 over a domain name and, for each file in order, u32le length ‖ name ‖ u32le length ‖ bytes. */
export const hashPolicyFiles = (files: readonly PolicyFile[]): Uint8Array => {
  const hash = createHash('sha256').update(DOMAIN)
  for (const { name, bytes } of files) {
    const nameBytes = Buffer.from(name)
    hash.update(u32(nameBytes.length)).update(nameBytes).update(u32(bytes.length)).update(bytes)
  }
  return new Uint8Array(hash.digest())
}

/**
 * Reads the `*.cedar` and `*.cedarschema` files directly in `policyDir`; other files and subfolders do not count.
 * Throws an Error for the operator: the folder cannot be read, or breaks policyFilesMax or policyBytesMax.
 */
export const readPolicyFolder = async (policyDir: string): Promise<PolicyFolder> => {
  const names = (await readdir(policyDir)).filter(isPolicyFile).sort()
  if (names.length > LIMITS.policyFilesMax) {
    throw new Error(`the policy folder holds ${names.length} files, more than ${LIMITS.policyFilesMax}`)
  }
  const files: PolicyFile[] = []
  let left = LIMITS.policyBytesMax
  for (const name of names) {
    const path = join(policyDir, name)
    const { size } = await stat(path)
    // Asked before it is read, so that a huge file costs nothing, and again after, since it may have grown.
    const bytes = size > left ? undefined : new Uint8Array(await readFile(path))
    if (bytes === undefined || bytes.length > left) {
      throw new Error(`${name}: the policy folder is larger than ${LIMITS.policyBytesMax} bytes in all`)
    }
    left -= bytes.length
    files.push({ name, bytes })
  }
  return { files, sha256: hashPolicyFiles(files) }
}
