"""Parts of the chaos run of reward_stream: the world and its delivery, the killer, the watcher and the verdict."""
