using System.CommandLine;
using Mesh.Cli.Certificates;
using Mesh.Cli.ControlPlane;
using Mesh.Cli.Discovery;
using Mesh.Cli.Redirect;

return await new RootCommand("mesh, the command line of Mesh") { ControlPlaneCommand.Create(), CertificatesCommand.Create(), XdsCommand.Create(), RedirectCommand.Create() }.Parse(args).InvokeAsync();
