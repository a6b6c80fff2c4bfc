// An OpenID provider that is not ours: the npm package oidc-provider, which the OpenID Foundation has certified, with
// its own pages for login and consent. `node provider.mjs PORT REDIRECT` says on its output when it listens.
import { Provider } from "oidc-provider";

const [port, redirect] = process.argv.slice(2);
const groups = { rita: ["gateway-readers"], ada: ["staff", "gateway-admins"], erika: ["gateway-admins"] };

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{ client_id: "usp", client_secret: "a secret of the certified provider", redirect_uris: [redirect] }],
  pkce: { required: () => true },
  cookies: { keys: ["a key of the provider's cookies"] },
  features: { devInteractions: { enabled: true } },
  claims: { openid: ["sub"], profile: ["preferred_username", "name"], email: ["email"], groups: ["groups"] },
  conformIdTokenClaims: false, // what is asked for by scopes is in the token itself
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, preferred_username: id, name: `${id} of Certified`, email: `${id}@example.org`, groups: groups[id] }),
  }),
});
provider.listen(Number(port), "127.0.0.1", () => console.log("listening"));
