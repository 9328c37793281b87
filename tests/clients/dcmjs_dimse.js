// A third implementation: everything it can ask for, and what it takes.
//
//     node dcmjs_dimse.js PORT LISTEN FILE…
'use strict';

const assert = require('node:assert');
const dimse = require('dcmjs-dimse');

const { Client, Scp, Server, Transcoding, Dataset } = dimse;
const { CEchoRequest, CFindRequest, CGetRequest, CMoveRequest, CStoreRequest, NActionRequest } = dimse.requests;
const { CStoreResponse, NEventReportResponse } = dimse.responses;
const { PresentationContextResult, SopClass, Status, StorageClass, TransferSyntax } = dimse.constants;

dimse.log.setLevel('error');
const [port, listen, ...files] = process.argv.slice(2);
const PATIENCE = 60000;

// One association with these requests; all answers of each.
function send(requests, prepare = () => {}) {
  return new Promise((resolve, reject) => {
    const client = new Client();
    const answers = requests.map(() => []);
    requests.forEach((request, at) => {
      request.on('response', (response) => answers[at].push(response));
      client.addRequest(request);
    });
    prepare(client);
    client.on('networkError', reject);
    client.on('associationRejected', (result) => reject(new Error(`rejected: ${JSON.stringify(result)}`)));
    client.on('closed', () => resolve(answers));
    client.send('127.0.0.1', Number(port), 'DCMJS', 'STOWAGE', { datasetWriteOptions: { fragmentMultiframe: false } });
  });
}

function last(answers) {
  return answers[answers.length - 1];
}

function succeeded(answers) {
  assert.strictEqual(last(answers).getStatus(), Status.Success, `${last(answers)}`);
}

const received = [];
class Receiver extends Scp {
  associationRequested(association) {
    for (const { id } of association.getPresentationContexts()) {
      const context = association.getPresentationContext(id);
      context.setResult(PresentationContextResult.Accept, context.getTransferSyntaxUids()[0]);
    }
    this.sendAssociationAccept();
  }

  cStoreRequest(request, callback) {
    received.push(request.getDataset());
    const response = CStoreResponse.fromRequest(request);
    response.setStatus(Status.Success);
    callback(response);
  }

  associationReleaseRequested() {
    this.sendAssociationReleaseResponse();
  }
}

async function main() {
  await Transcoding.initializeAsync();
  const [echo] = await send([new CEchoRequest()]);
  succeeded(echo);

  const stores = files.map((file) => new CStoreRequest(file));
  const sent = files.map((file) => Dataset.fromFile(file));
  for (const answers of await send(stores)) {
    succeeded(answers);
  }

  for (const dataset of sent) {
    const { PatientID, StudyInstanceUID, SOPInstanceUID } = dataset.getElements();
    const [found] = await send([CFindRequest.createStudyFindRequest({ PatientID, StudyInstanceUID: '' })]);
    succeeded(found);
    const studies = found.filter((answer) => answer.hasDataset()).map((answer) => answer.getDataset().getElements());
    assert.deepStrictEqual(studies.map((study) => study.StudyInstanceUID), [StudyInstanceUID]);

    // C-GET, on the same association.
    const got = [];
    const request = CGetRequest.createStudyGetRequest(StudyInstanceUID);
    request.setAddStorageSopClassesToAssociation(true);
    const [answers] = await send([request], (client) => {
      client.on('cStoreRequest', (store, callback) => {
        got.push(store.getDataset());
        const response = CStoreResponse.fromRequest(store);
        response.setStatus(Status.Success);
        callback(response);
      });
    });
    succeeded(answers);
    assert.deepStrictEqual(got.map((one) => one.getElements().SOPInstanceUID), [SOPInstanceUID]);
    const pixels = (one) => Buffer.from(one.getElements().PixelData[0]);
    assert.ok(pixels(got[0]).equals(pixels(dataset)), 'the same pixels');

    // C-MOVE, to a listener of its own.
    const server = new Server(Receiver);
    server.listen(Number(listen));
    const [moved] = await send([CMoveRequest.createStudyMoveRequest('DCMJS', StudyInstanceUID)]);
    server.close();
    succeeded(moved);
    const instances = received.splice(0).map((one) => one.getElements().SOPInstanceUID);
    assert.deepStrictEqual(instances, [SOPInstanceUID]);
  }

  if (process.env.COMMITMENT !== 'off') {
    const { SOPClassUID, SOPInstanceUID } = sent[0].getElements();
    const asked = new NActionRequest(SopClass.StorageCommitmentPushModel, '1.2.840.10008.1.20.1.1', 1);
    const pair = { ReferencedSOPClassUID: SOPClassUID, ReferencedSOPInstanceUID: SOPInstanceUID };
    asked.setDataset(new Dataset({ TransactionUID: Dataset.generateDerivedUid(), ReferencedSOPSequence: [pair] }));
    const [action] = await send([asked]);
    succeeded(action);
  }
  console.log('well');
}

setTimeout(() => {
  console.error('nothing came');
  process.exit(2);
}, 3 * PATIENCE).unref();
main().then(() => process.exit(0)).catch((error) => {
  console.error(error);
  process.exit(1);
});
