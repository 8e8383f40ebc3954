export { WebGLRenderer, Scene, PerspectiveCamera, Color, Fog, Group, Mesh, MeshStandardMaterial, MeshBasicMaterial,
  ShadowMaterial, LineBasicMaterial, LineSegments, Line, BufferGeometry, BufferAttribute, Float32BufferAttribute,
  SphereGeometry, CylinderGeometry, ConeGeometry, PlaneGeometry, LatheGeometry, HemisphereLight, DirectionalLight, Vector2, Vector3,
  Quaternion, Matrix4, PCFSoftShadowMap, PCFShadowMap, SRGBColorSpace } from "three";
export { OrbitControls } from "three/examples/jsm/controls/OrbitControls.js";
