import { Module } from 'graphene-pk11'
import pkcs11, { type PKCS11 } from 'pkcs11js'
import { isCkr } from './pkcs11Failure.ts'

/** One loaded PKCS#11 library: it has one state a process, whoever uses it. */
export interface Library {
  readonly lib: PKCS11
  readonly module: Module
  /** Runs a call that works on a thread; while one is under way the library is not finalized. */
  onThread<T>(work: () => Promise<T>): Promise<T>
  /**
   * Finalizes and initializes again, which a library may need to see a token that came back. It kills every session of
   * the process, so it is refused (false) while any thread is in the library or other hosts use it.
   */
  restart(): boolean
  release(): void
}

export interface Libraries {
  /** The library of this path, loaded and initialized once; throws what the loader or C_Initialize says. */
  use(libPath: string): Library
}

/** The libraries of one process, shared by the hosts in it. */
export const createLibraries = (): Libraries => {
  const loaded = new Map<string, { readonly library: Library; readonly users: { count: number } }>()
  return {
    use(libPath) {
      const known = loaded.get(libPath)
      if (known !== undefined) {
        known.users.count += 1
        return known.library
      }
      const users = { count: 1 }
      const library = openLibrary(libPath, users)
      loaded.set(libPath, { library, users })
      return library
    },
  }
}

const openLibrary = (libPath: string, users: { count: number }): Library => {
  const lib = new pkcs11.PKCS11()
  lib.load(libPath)
  initialize(lib)
  let threads = 0
  return {
    lib,
    module: new Module(lib),
    async onThread(work) {
      threads += 1
      try {
        return await work()
      } finally {
        threads -= 1
      }
    },
    restart() {
      if (threads > 0 || users.count > 1) return false
      lib.C_Finalize()
      initialize(lib)
      return true
    },
    release() {
      users.count -= 1
    },
  }
}

/** Without CKF_OS_LOCKING_OK, which graphene's own call omits, calls from threads crash the process. */
const initialize = (lib: PKCS11): void => {
  try {
    lib.C_Initialize({ flags: pkcs11.CKF_OS_LOCKING_OK })
  } catch (error) {
    if (!isCkr(error, pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED)) throw error
  }
}
