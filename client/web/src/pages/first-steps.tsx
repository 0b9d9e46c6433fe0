// The first page of an empty registry: what to type.
import { useSignal } from "@preact/signals";
import { Code } from "../parts/code";
import { Icon } from "../parts/icon";
import { NewRegisteredModel } from "../dialogs/new-registered-model";

const SCRIPT = `import modelyard

with modelyard.init(project="digits") as run:
    run.log({"acc": 0.97})
    run.link_model("model.bin", "Digit Reader", name="digits")`;
const SHELL = `modelyard log model.bin --project digits --name digits
modelyard link digits/digits:latest "Digit Reader"`;

export function FirstSteps({ entity }: { entity: string }) {
  const isMaking = useSignal(false);
  const since = useSignal(new Date());
  return (
    <main class="main">
      <div class="wide">
        <div class="head">
          <div>
            <h1>No registered model yet</h1>
            <p>The first one appears here as soon as a script links a version. No need to reload.</p>
          </div>
          <div class="row push">
            <button type="button" class="btn" onClick={() => (isMaking.value = true)}>
              <Icon name="plus" />
              New registered model
            </button>
          </div>
        </div>
        <div class="cols start-cols">
          <ol class="start">
            <li>
              <b>1</b>
              <h2>Install</h2>
              <Code name="install command" text="pip install modelyard" />
            </li>
            <li>
              <b>2</b>
              <h2>Log a model and link it</h2>
              <Code name="Python" text={SCRIPT} />
              <p class="hint">
                Coming from W&amp;B? <code>import modelyard as wandb</code> keeps your scripts as they are.
              </p>
            </li>
            <li class="last">
              <b>
                <Icon name="history" small />
              </b>
              <h2>Waiting for the first version</h2>
              <p class="mute">Listening since {since.value.toLocaleTimeString("en", { hour: "2-digit", minute: "2-digit", hour12: false })}.</p>
            </li>
          </ol>
          <div>
            <section class="sec">
              <h2>Without Python</h2>
              <Code name="shell commands" text={SHELL} />
            </section>
          </div>
        </div>
      </div>
      {isMaking.value && <NewRegisteredModel entity={entity} close={() => (isMaking.value = false)} />}
    </main>
  );
}
