// The viewer of compose.cluster.yaml: it is served from the same origin as Stowage, so no CORS is needed.
// Served from elsewhere, write the address of Stowage in place of window.location.origin, and set STOWAGE_CORS_ORIGINS there
// to the origin of the viewer (not needed for a viewer at localhost while Stowage runs on the same machine).
window.config = {
  routerBasename: '/',
  extensions: [],
  modes: [],
  showStudyList: true,
  defaultDataSourceName: 'stowage',
  dataSources: [
    {
      namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
      sourceName: 'stowage',
      configuration: {
        friendlyName: 'Stowage',
        name: 'stowage',
        qidoRoot: window.location.origin + '/dicom-web',
        wadoRoot: window.location.origin + '/dicom-web',
        wadoUriRoot: window.location.origin + '/dicom-web/wado',
        qidoSupportsIncludeField: true,
        supportsFuzzyMatching: true,
        supportsWildcard: true,
        enableStudyLazyLoad: true,
        imageRendering: 'wadors',
        thumbnailRendering: 'wadors',
        singlepart: 'bulkdata,video',
        bulkDataURI: { enabled: true },
        dicomUploadEnabled: true,
      },
    },
  ],
};
