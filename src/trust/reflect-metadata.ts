// @peculiar/x509 brings tsyringe, which refuses to load unless the (never standardised) metadata functions of
// Reflect are there. These three are all that it calls. Importing this file is enough; issue.ts does, lazily.

const store = new WeakMap<object, Map<unknown, unknown>>();

const functions = {
  defineMetadata(key: unknown, value: unknown, target: object): void {
    const own = store.get(target) ?? new Map<unknown, unknown>();
    store.set(target, own.set(key, value));
  },
  getOwnMetadata(key: unknown, target: object): unknown {
    return store.get(target)?.get(key);
  },
  getMetadata(key: unknown, target: object): unknown {
    for (let at: unknown = target; typeof at === "function" || typeof at === "object"; ) {
      if (at === null) return undefined;
      if (store.get(at)?.has(key) === true) return store.get(at)?.get(key);
      at = Object.getPrototypeOf(at);
    }
    return undefined;
  },
};

for (const [name, value] of Object.entries(functions)) {
  if (!(name in Reflect)) Object.defineProperty(Reflect, name, { value, configurable: true, writable: true });
}
