// Which URLs go through which proxy.
import { describe, expect, test } from "vitest";
import { environmentProxies, proxiesOf } from "../../../src/oci/proxy.ts";

const through = (url: string, except: readonly string[]) =>
  proxiesOf({ http: "http://proxy:3128", https: "http://proxy:3129", except })(new URL(url))?.name;

describe("the proxy of a URL", () => {
  test("is that of its scheme", () => {
    expect(through("http://registry.example/", [])).toBe("proxy:3128");
    expect(through("https://registry.example/", [])).toBe("proxy:3129");
  });

  test.each(["http://localhost:5000", "http://127.0.0.1", "https://127.1.2.3:5000", "https://[::1]:5000"])(
    "is none for this machine itself: %s",
    (url) => {
      expect(through(url, [])).toBeUndefined();
    },
  );

  test.each<[string, string, boolean]>([
    ["https://registry.example", "registry.example", false],
    ["https://a.registry.example", "registry.example", false],
    ["https://other-registry.example", "registry.example", true],
    ["https://registry.example", ".registry.example", true],
    ["https://a.registry.example", ".registry.example", false],
    ["https://registry.example", "REGISTRY.example ", false],
    ["https://registry.example:5000", "registry.example:5000", false],
    ["https://registry.example", "registry.example:443", false],
    ["https://registry.example", "registry.example:5000", true],
    ["https://10.1.2.3", "10.0.0.0/8", false],
    ["https://11.1.2.3", "10.0.0.0/8", true],
    ["https://10.1.2.3", "10.1.2.3", false],
    ["https://10.1.2.30", "10.1.2.3", true],
    ["https://[fd00::1]", "fd00::/8", false],
    ["https://[fe00::1]", "fd00::/8", true],
    ["https://[fd00::1]:5000", "fd00::1", false],
    ["https://10.registry.example", "10.0.0.0/8", true],
    ["https://registry.example", "*", false],
    ["https://registry.example", "10.0.0.0/99", true],
    ["https://registry.example", "", true],
  ])("%s except %j: through it is %s", (url, except, isThrough) => {
    expect(through(url, [except]) !== undefined).toBe(isThrough);
  });
});

describe("the environment", () => {
  const url = new URL("https://registry.example");

  test("names none when it names none", () => {
    expect(environmentProxies({})(url)).toBeUndefined();
    expect(environmentProxies({ HTTPS_PROXY: "" })(url)).toBeUndefined();
    expect(environmentProxies({ HTTP_PROXY: "http://proxy:1" })(url)).toBeUndefined();
  });

  test("may leave the scheme out, and uses small letters first", () => {
    expect(environmentProxies({ HTTPS_PROXY: "proxy:1" })(url)).toMatchObject({ host: "proxy", port: 1 });
    expect(environmentProxies({ HTTPS_PROXY: "proxy:1", https_proxy: "proxy:2" })(url)?.port).toBe(2);
    const except = { HTTPS_PROXY: "proxy:1", NO_PROXY: "a.example, registry.example" };
    expect(environmentProxies(except)(url)).toBeUndefined();
  });

  test("may have a name and password", () => {
    const proxy = environmentProxies({ HTTPS_PROXY: "http://a%40b:c:d@proxy:1" })(url);
    expect(proxy?.authorization).toBe(`Basic ${Buffer.from("a@b:c:d").toString("base64")}`);
    expect(proxy?.name).toBe("proxy:1");
  });

  test.each([
    "https://proxy:1",
    "socks5://proxy:1",
    "http://",
    "http://proxy/path",
    "http://u:geheim@proxy:99999",
  ])("with %j is refused, and its password not shown", (proxy) => {
    expect(() => environmentProxies({ HTTPS_PROXY: proxy })(url)).toThrow(
      expect.objectContaining({
        code: "fetch-settings-invalid",
        message: expect.not.stringContaining("geheim"),
      }),
    );
  });

  test("may name one that cannot be used, as long as nothing has to go through it", () => {
    const proxies = environmentProxies({ HTTPS_PROXY: "socks5://proxy:1" });
    expect(proxies(new URL("https://localhost:5000"))).toBeUndefined();
  });
});
