"""Users of a hub behind a balancer: the soak's, whose every request meets the next host, and who push large files."""

import json
import random
import shutil

from tests.soak.users import User

ROWS, WORDS = 16_000, 120


class ClusterUser(User):
    """A user with a data set of some 16 MB to push and pull, so that a fault meets an upload half way."""

    def actions(self) -> dict:
        """The soak's, and large files."""
        return {**super().actions(), self._push_large: 6, self._pull_large: 4}

    def _sign_in(self) -> None:
        super()._sign_in()
        # A connection for each request: the balancer gives each to the next host.
        self.hub.transport.client.headers["Connection"] = "close"

    def _push_large(self) -> None:
        if len(self.large) > 4:
            return
        self._number += 1
        name, folder = f"datasets/{self.user}/d{self._number}", self.folder / f"large{self._number}"
        folder.mkdir(parents=True)
        chance = random.Random(self._number)
        text = "".join(
            json.dumps({"prompt": f"{row}", "completion": f"{chance.getrandbits(8 * WORDS):x}"}) + "\n"
            for row in range(ROWS)
        )
        (folder / "train.jsonl").write_text(text)
        self.hub.push(folder, name)
        self.large[name] = text.encode()
        shutil.rmtree(folder)

    def _pull_large(self) -> None:
        if not self.large:
            return
        name = self.chance.choice(sorted(self.large))
        out = self.folder / f"pull-large-{self.user}"
        self.hub.pull(name, out)
        assert (out / "train.jsonl").read_bytes() == self.large[name], f"{name} came back with other bytes"
        shutil.rmtree(out)
