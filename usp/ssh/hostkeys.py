"""All host keys of a node are told to clients after the login, so that a new one is known before it is used.

OpenSSH's PROTOCOL, 2.5: the server announces its keys (`hostkeys-00@openssh.com`), the client has those proven that are
new to it (`hostkeys-prove-00@openssh.com`) and remembers them (UpdateHostKeys). The first key of a type is the one that
is used in key exchanges; those behind it wait. asyncssh knows both messages; but it does not announce where somebody
waits for the login, signs as often as it is asked to, and with SHA-1 by an RSA key that waits.
"""

from __future__ import annotations

import copy
from typing import Final

import asyncssh
from asyncssh.packet import PacketDecodeError, SSHPacket, String

from usp.ssh.requests import Restricted

PROVE: Final = b"hostkeys-prove-00@openssh.com"

DEAF: Final = (b"SSH-2.0-Cisco-1.",)
"""How clients begin that crash when they hear of host keys: OpenSSH spares them, too."""

RSA: Final = frozenset({b"rsa-sha2-512", b"rsa-sha2-256", b"ssh-rsa"})


class Announcing(Restricted):
    """We are the SSH server, and say which host keys are ours. Each is proven once: to sign costs time."""

    _unproven: dict[bytes, asyncssh.SSHKeyPair] | None = None

    async def send_userauth_success(self) -> None:
        await super().send_userauth_success()
        self.send_server_host_keys()

    def send_server_host_keys(self) -> None:
        if self._unproven is None and not self.is_closed() and not self._client_version.startswith(DEAF):
            self._unproven = dict(self._all_server_host_keys)
            super().send_server_host_keys()

    def _process_hostkeys_prove_00_at_openssh_dot_com_global_request(self, packet: SSHPacket) -> None:
        try:
            asked = []
            while packet:
                asked.append(packet.get_string())
            signatures = [self._prove(key_data) for key_data in asked]
        except (PacketDecodeError, KeyError):
            self._report_global_response(False)
        else:
            self._report_global_response(b"".join(map(String, signatures)))

    def _prove(self, key_data: bytes) -> bytes:
        """KeyError when it is none of ours, or was proven before."""
        pair = copy.copy((self._unproven or {}).pop(key_data))
        if pair.algorithm in RSA:
            used = self._server_host_key.sig_algorithm if self._server_host_key else b""
            pair.set_sig_algorithm(used if used in RSA else b"rsa-sha2-512")
        return pair.sign(String(PROVE) + String(self._session_id) + String(key_data))
